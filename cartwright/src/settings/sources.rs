//! Where each value comes from, for `cartwright config`.

use clap::{ArgMatches, Command, parser::ValueSource};

/// Every setting with its effective value and its source.
#[derive(Debug, Clone)]
pub struct Sources(Vec<Setting>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub variable: String,
    /// `None` when it is not set and has no default.
    pub value: Option<String>,
    pub source: &'static str,
}

/// What stands for a value that is not shown.
const REDACTED: &str = "(redacted)";

impl Sources {
    pub(crate) fn read(definition: &Command, matches: &ArgMatches) -> Self {
        // Given after a command, a flag is among that command's matches.
        let innermost = matches.subcommand().map_or(matches, |(_, inner)| inner);
        let shown = definition.get_arguments().filter(|arg| !arg.is_hide_set());
        let settings = shown.filter_map(|arg| {
            let variable = arg.get_env()?.to_string_lossy().into_owned();
            let id = arg.get_id().as_str();
            let source = match innermost.value_source(id) {
                Some(ValueSource::EnvVariable) => "environment",
                Some(ValueSource::CommandLine) => "flag",
                Some(ValueSource::DefaultValue) => "default",
                _ => "not set",
            };
            let raw = innermost.get_raw(id).and_then(|mut values| values.next());
            let value = raw.map(|value| redacted(&variable, &value.to_string_lossy()));
            Some(Setting {
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
}

/// Secrets whole, and in a URL the password and the parameters, which may hold another.
fn redacted(variable: &str, value: &str) -> String {
    if ["SECRET", "PASSWORD", "KEY"].iter().any(|word| variable.contains(word)) {
        return REDACTED.to_owned();
    }
    let Some((scheme, rest)) = value.split_once("://") else {
        // A login does not belong there, and somebody wrote one.
        let place = value.rsplit_once('@').map(|(_, place)| format!("{REDACTED}@{place}"));
        return place.unwrap_or_else(|| value.to_owned());
    };
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => {
            // One that was not encoded may have any of them in it.
            let user = login.split([':', '/', '?']).next().unwrap_or_default();
            (format!("{user}:{REDACTED}@"), rest)
        }
        None => (String::new(), rest),
    };
    let (place, parameters) = match rest.split_once('?') {
        Some((place, _)) => (place, format!("?{REDACTED}")),
        None => (rest, String::new()),
    };
    format!("{scheme}://{login}{place}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(redacted("JWT_SECRET", "s"), REDACTED);
        assert_eq!(redacted("EVENT_SIGNING_KEY", "s"), REDACTED);
        assert_eq!(
            redacted("DATABASE_URL", "postgres://u:p@h/db"),
            "postgres://u:(redacted)@h/db"
        );
        for hidden in [
            "postgres://h/db?user=u&password=p",
            "mongodb://h/?tlsCertificateKeyFilePassword=p@h",
        ] {
            assert!(!redacted("MONGO_URI", hidden).contains("=p"), "{hidden}");
        }
        assert_eq!(redacted("MONGO_URI", "mongodb://h:1/db"), "mongodb://h:1/db");
        assert_eq!(redacted("HOST", "127.0.0.1"), "127.0.0.1");
        assert_eq!(redacted("REDIS_ADDR", "u:p@h:1"), "(redacted)@h:1");
    }
}
