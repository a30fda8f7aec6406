//! The source of each value, for `cartwright config`.

use clap::{ArgMatches, Command, parser::ValueSource};

use super::{
    redaction::{REDACTED, redact},
    secrets::Secret,
};

/// Every setting with its effective value and its source.
#[derive(Debug, Clone)]
pub struct Sources(Vec<Setting>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub variable: String,
    /// Redacted. `None` if the setting is unset and has no default.
    pub value: Option<String>,
    pub source: &'static str,
    is_redacted: bool,
}

const FLAG: &str = "flag";

impl Sources {
    pub(crate) fn read(definition: &Command, matches: &ArgMatches) -> Self {
        // A flag after a command is in the matches of that command.
        let innermost = matches.subcommand().map_or(matches, |(_, inner)| inner);
        let given = |id: &str| innermost.get_raw(id).and_then(|mut values| values.next());
        let visible = definition.get_arguments().filter(|arg| !arg.is_hide_set());
        let settings = visible.filter_map(|arg| {
            let variable = arg.get_env()?.to_string_lossy().into_owned();
            let id = arg.get_id().as_str();
            let file = Secret::of(&variable).and_then(|_| given(&format!("{id}_file")));
            let raw = given(id).map(|value| value.to_string_lossy().into_owned());
            let (raw, source) = match innermost.value_source(id) {
                _ if file.is_some_and(|file| !file.is_empty()) => (None, "file"),
                Some(ValueSource::EnvVariable) => (raw, "environment"),
                Some(ValueSource::CommandLine) => (raw, FLAG),
                Some(ValueSource::DefaultValue) => (raw, "default"),
                _ => (None, "not set"),
            };
            let value = match (&raw, source) {
                (Some(raw), _) => Some(redacted(&variable, raw)),
                (None, "file") => Some(REDACTED.to_owned()),
                (None, _) => None,
            };
            Some(Setting {
                is_redacted: value != raw,
                variable,
                value,
                source,
            })
        });
        Self(settings.collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// A warning for each secret in a flag: everybody on this machine can read the flags of a process.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let exposed = self.0.iter().filter_map(|setting| {
            let secret = Secret::of(&setting.variable).filter(|_| setting.source == FLAG && setting.is_redacted)?;
            Some((
                secret,
                format!("--{}", setting.variable.to_lowercase().replace('_', "-")),
            ))
        });
        exposed.map(|(secret, flag)| {
            format!(
                "{flag} shows in the list of processes; give the secret in a file that {} names",
                secret.file
            )
        })
    }
}

/// Redacts secrets as a whole, and the logins of addresses.
fn redacted(variable: &str, value: &str) -> String {
    let is_path = variable == "DATA_DIR" || variable.ends_with("_FILE");
    match Secret::of(variable) {
        Some(secret) if !secret.is_address() && !value.is_empty() => REDACTED.to_owned(),
        None if is_path && !value.contains(['@', '?']) => value.to_owned(),
        Some(_) | None => redact(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted() {
        assert_eq!(redacted("JWT_SECRET", "s"), REDACTED);
        assert_eq!(redacted("EVENT_SIGNING_KEY", "s"), REDACTED);
        assert_eq!(redacted("KAFKA_SASL_PASSWORD", "s"), REDACTED);
        assert_eq!(
            redacted("DATABASE_URL", "postgres://u:p@h/db"),
            "postgres://(redacted)@h/db"
        );
        assert_eq!(redacted("REDIS_ADDR", "u:p@h:1"), "(redacted)@h:1");
        assert_eq!(redacted("MONGO_URI", "mongodb://h:1/db"), "mongodb://h:1/db");
        assert_eq!(redacted("HOST", "127.0.0.1"), "127.0.0.1");
        assert_eq!(redacted("REDIS_CA_FILE", "/etc/a=b.pem"), "/etc/a=b.pem");
    }
}
