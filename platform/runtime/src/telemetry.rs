//! Logs.

use std::{error::Error, io::IsTerminal, iter, str::FromStr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Text for a person at a terminal, JSON for a machine.
    pub fn of_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("'{other}' is not a log format: text or json")),
        }
    }
}

/// Sends log lines of `level` and above to standard error. The first call in a process counts; later ones do nothing.
pub fn log_to_stderr(level: LevelFilter, format: LogFormat) {
    let builder = fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(true);
    // An error here says that there is a subscriber already.
    let _ = match format {
        LogFormat::Text => {
            tracing::subscriber::set_global_default(builder.with_ansi(std::io::stderr().is_terminal()).finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
    };
}

/// An error with all of its sources, for a log line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let sources = iter::successors(Some(error), |error| (*error).source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
