//! The command line, and the one place where everything is put together.

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

pub use services::ServiceName;
pub use settings::Config;
pub use shop::{Hooks, Shop, StartError};

/// 64: the configuration is wrong (`EX_USAGE` of sysexits.h).
const WRONG_CONFIGURATION: u8 = 64;

/// How long the end of the process waits for what was said to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
    let patience = settings.0.shutdown_timeout.0;
    let work = || runtime.block_on(commands::run(command, settings, &log));
    let ended = std::panic::catch_unwind(AssertUnwindSafe(work));
    log.flush(LAST_WORDS);
    let code = match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(commands::Failure::Configuration(error))) => fail(&error.to_string(), WRONG_CONFIGURATION),
        Ok(Err(commands::Failure::Failed(error))) => fail(&line_of(&error), 1),
        Err(panic) => fail(&format!("ends with a panic: {}", panic_text(panic.as_ref())), 1),
    };
    // Clients of engines that are being closed are waited for, and nothing else is left.
    runtime.shutdown_timeout(patience);
    code
}

/// An error with its sources, in one line.
fn line_of(error: &anyhow::Error) -> String {
    chain(error.as_ref())
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Tells the person who started the command why it ends. Standard error may be gone, or nobody may read it.
fn fail(message: &str, code: u8) -> ExitCode {
    let log = Log::to_stderr();
    // Others may have a part in it: a broker, a file, whoever named a letter.
    log.say(&visible(&format!("cartwright: {message}")));
    log.flush(LAST_WORDS);
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn each_source_of_an_error_is_said_once_in_one_line() {
        let inner = std::io::Error::other("no room\n on the disk");
        let outer = anyhow!("it cannot be opened: {inner}");
        assert_eq!(line_of(&outer), "it cannot be opened: no room on the disk");
        let chained = Err::<(), _>(inner)
            .context("it cannot be opened")
            .context("the shop")
            .unwrap_err();
        assert_eq!(line_of(&chained), "the shop: it cannot be opened: no room on the disk");
    }
}
