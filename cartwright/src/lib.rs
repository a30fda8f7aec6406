//! The command line, and the one place where everything is put together.

mod banner;
mod cli;
mod commands;
pub mod http;
mod secret;
pub mod settings;
pub mod shop;

use std::process::ExitCode;

pub use settings::{Config, ServiceName};
pub use shop::{Hooks, Shop, StartError};

/// 64: the configuration is wrong (`EX_USAGE` of sysexits.h).
const WRONG_CONFIGURATION: u8 = 64;

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
    match runtime.block_on(commands::run(command, settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(commands::Failure::Configuration(error)) => fail(&error.to_string(), WRONG_CONFIGURATION),
        Err(commands::Failure::Failed(error)) => fail(&format!("{error:#}"), 1),
    }
}

#[allow(
    clippy::print_stderr,
    reason = "this is what the person who started the command is told"
)]
fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("cartwright: {message}");
    ExitCode::from(code)
}
