//! The keys that events are signed with.

use clap::Args;
use events::SigningKey;
use runtime::config::ConfigError;

use super::Engines;

const KEY: &str = "EVENT_SIGNING_KEY";
const PREVIOUS: &str = "EVENT_SIGNING_KEY_PREVIOUS";

/// Signatures distinguish our events from those of others who can write to the event bus.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct SigningSettings {
    /// The key that signs events, at least 32 bytes without blanks at its ends; events without its signature are parked
    /// [default: on the embedded bus generated once and kept in `DATA_DIR`; on Kafka events are not signed].
    #[arg(long, env, global = true, hide_env_values = true)]
    pub event_signing_key: Option<String>,
    /// Another key whose signatures are accepted, while `EVENT_SIGNING_KEY` is replaced.
    #[arg(long, env, global = true, hide_env_values = true, hide_short_help = true)]
    pub event_signing_key_previous: Option<String>,
}

impl SigningSettings {
    /// The key that signs, if configured.
    pub(crate) fn key(&self) -> Result<Option<SigningKey>, ConfigError> {
        key_of(KEY, self.event_signing_key.as_ref())
    }

    /// The other accepted key, if configured.
    pub(crate) fn previous(&self) -> Result<Option<SigningKey>, ConfigError> {
        key_of(PREVIOUS, self.event_signing_key_previous.as_ref())
    }

    /// Checks without opening anything.
    pub(super) fn check(&self, engines: &Engines) -> Result<(), ConfigError> {
        let (key, previous) = (self.key()?, self.previous()?);
        if key.is_none() && previous.is_some() && engines.kafka().is_some() {
            return Err(ConfigError::new(
                PREVIOUS,
                format!("is set without {KEY}; set that, or neither"),
            ));
        }
        Ok(())
    }
}

/// An empty variable counts as unset.
fn key_of(variable: &'static str, value: Option<&String>) -> Result<Option<SigningKey>, ConfigError> {
    let value = value.filter(|value| !value.is_empty());
    let key = value.map(|value| SigningKey::new(value.as_bytes())).transpose();
    key.map_err(|weak| ConfigError::new(variable, weak.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_weak_signing_key_is_refused_with_its_variable() {
        let wrong = |key: &str, previous: &str, kafka: bool| {
            let Settings {
                mut signing,
                mut engines,
                ..
            } = Settings::defaults();
            signing.event_signing_key = Some(key.to_owned());
            signing.event_signing_key_previous = Some(previous.to_owned());
            engines.kafka_brokers = kafka.then(|| "h:1".to_owned());
            signing.check(&engines).err().map(|error| error.variable)
        };
        let good = "a key of events, of more than 32 bytes";
        assert_eq!(wrong("", "", true), None);
        assert_eq!(wrong(good, good, true), None);
        assert_eq!(wrong("short", "", true), Some(KEY));
        assert_eq!(wrong(&" ".repeat(32), "", false), Some(KEY));
        assert_eq!(wrong(&"k".repeat(64), "", true), Some(KEY));
        assert_eq!(wrong(good, "short", true), Some(PREVIOUS));
        assert_eq!(wrong(good, &"k".repeat(64), true), Some(PREVIOUS));
        assert_eq!(wrong("", good, true), Some(PREVIOUS));
        assert_eq!(wrong("", good, false), None);
    }
}
