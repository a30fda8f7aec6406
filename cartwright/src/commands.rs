//! The commands.

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

/// Why a command did not do it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A setting is wrong; nothing was opened.
    Configuration(ConfigError),
    Failed(anyhow::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Configuration(error) => Self::Configuration(error),
            StartError::Open(_) | StartError::Listen { .. } | StartError::Other(_) => Self::Failed(error.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

pub(crate) async fn run(command: Command, (settings, sources): (Settings, Sources), log: &Log) -> Result<(), Failure> {
    if matches!(command, Command::Serve { .. }) {
        let format = settings.log_format.unwrap_or_else(LogFormat::of_stderr);
        log.install(settings.log_level, format);
        sources.warnings().for_each(|warning| tracing::warn!("{warning}"));
    } else {
        sources
            .warnings()
            .for_each(|warning| log.say(&format!("cartwright: {warning}")));
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
            let whom = erase::Whom { user, drop_parked };
            erase::run(&whom, yes, &settings).await
        }
    }
}

/// Prints a line for the person or the program that started the command.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
