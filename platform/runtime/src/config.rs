//! Values that settings have.

use std::{fmt, str::FromStr, time::Duration};

/// A duration that reads like `250ms`, `5m` or `1h 30m`; `0` is none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("'{text}' is not a duration: write it like 250ms, 30s, 5m"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A setting that makes no sense, found before anything is opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {wants}")]
pub struct ConfigError {
    /// The environment variable to change.
    pub variable: &'static str,
    /// What it wants.
    pub wants: String,
}

impl ConfigError {
    pub fn new(variable: &'static str, wants: impl Into<String>) -> Self {
        Self {
            variable,
            wants: wants.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for text in ["250ms", "5m", "1h 30m", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        assert!("soon".parse::<Span>().unwrap_err().contains("250ms"));
    }
}
