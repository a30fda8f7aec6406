//! The command line, and the composition: which services run, on which stores, with which peers.

mod banner;
mod cli;
mod commands;
pub mod http;
mod secret;
pub mod services;
pub mod settings;
pub mod shop;

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Duration};

use runtime::telemetry::{Log, chain, panic_text, visible};

use commands::CommandError;

pub use services::ServiceName;
pub use settings::Config;
pub use shop::{Overrides, Shop, StartError};

/// `EX_USAGE` of sysexits.h.
const WRONG_CONFIGURATION: u8 = 64;

/// How long the end of the process waits until the log is written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let (command, settings) = match cli::parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}"), 1),
    };
    let log = Log::to_stderr();
    let shutdown_timeout = settings.0.shutdown_timeout.0;
    let work = || runtime.block_on(commands::run(command, settings, &log));
    let result = std::panic::catch_unwind(AssertUnwindSafe(work));
    log.flush(FLUSH_TIMEOUT);
    let code = match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(CommandError::Configuration(error))) => fail(&error.to_string(), WRONG_CONFIGURATION),
        Ok(Err(CommandError::Failed(error))) => fail(&one_line(&error), 1),
        Err(panic) => fail(&format!("ends with a panic: {}", panic_text(panic.as_ref())), 1),
    };
    // Waits for the clients of engines to close; nothing else runs any more.
    runtime.shutdown_timeout(shutdown_timeout);
    code
}

/// An error with its sources, in one line.
fn one_line(error: &anyhow::Error) -> String {
    chain(error.as_ref())
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Writes the reason to standard error without blocking: the pipe may be closed, or nobody may read it.
fn fail(message: &str, code: u8) -> ExitCode {
    let log = Log::to_stderr();
    // Escaped: parts of the message may come from a broker, a file or a dead letter.
    log.write_line(&visible(&format!("cartwright: {message}")));
    log.flush(FLUSH_TIMEOUT);
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn an_error_is_one_line_and_names_each_source_once() {
        let inner = std::io::Error::other("no room\n on the disk");
        let outer = anyhow!("it cannot be opened: {inner}");
        assert_eq!(one_line(&outer), "it cannot be opened: no room on the disk");
        let chained = Err::<(), _>(inner)
            .context("it cannot be opened")
            .context("the shop")
            .unwrap_err();
        assert_eq!(one_line(&chained), "the shop: it cannot be opened: no room on the disk");
    }
}
