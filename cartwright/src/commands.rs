//! The commands, one per file.

mod config;
mod demo;
mod dlq;
mod erase;
mod serve;
mod token;

use std::io::Write;

use runtime::{
    config::ConfigError,
    telemetry::{Log, LogFormat},
};

use crate::{
    cli::Command,
    settings::{Settings, Sources},
    shop::StartError,
};

#[derive(Debug)]
pub(crate) enum CommandError {
    /// A setting is wrong. Nothing was opened.
    Configuration(ConfigError),
    Failed(anyhow::Error),
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error)
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Configuration(error) => Self::Configuration(error),
            StartError::Open(_) | StartError::Listen { .. } | StartError::Other(_) => Self::Failed(error.into()),
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

type CommandResult = Result<(), CommandError>;

pub(crate) async fn run(command: Command, (settings, sources): (Settings, Sources), log: &Log) -> CommandResult {
    if matches!(command, Command::Serve { .. }) {
        let format = settings.log_format.unwrap_or_else(LogFormat::of_stderr);
        log.install(settings.log_level, format);
        sources.warnings().for_each(|warning| tracing::warn!("{warning}"));
    } else {
        sources
            .warnings()
            .for_each(|warning| log.write_line(&format!("cartwright: {warning}")));
    }
    match command {
        Command::Serve { services } => serve::run(&services, settings, log).await,
        Command::Demo => demo::run().await,
        Command::Token { user, expires_in, role } => token::run(&settings, &user, role.as_deref(), expires_in.0),
        Command::Config => config::run(&sources, settings),
        Command::Dlq(command) => {
            settings.engines.check()?;
            dlq::run(command, &settings).await
        }
        Command::Erase { user, yes, drop_parked } => {
            let args = erase::EraseArgs { user, drop_parked };
            erase::run(&args, yes, &settings).await
        }
    }
}

/// Prints a line to standard output.
fn print_line(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
