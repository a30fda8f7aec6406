//! Secrets: each may come from a file, and none is shown.

use std::fs;

use clap::Args;
use runtime::config::ConfigError;

use super::{ServiceName, Settings, per_service::DatabaseFiles};
use crate::services::Store;

pub(super) const FILE_HELP: &str = "A file that has this secret in it, in place of the setting without `file`";

/// The variables of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret {
    /// Holds the secret itself.
    pub(super) variable: &'static str,
    /// Names a file with the secret.
    pub(super) file: &'static str,
}

/// Lists the secrets: field and variable of the file, and the field of the secret in [`Settings`].
macro_rules! secrets {
    ($($field:ident $file:literal => $($place:ident).+;)*) => {
        /// Files with secrets in them, in place of the variables of these names without `_FILE`.
        #[derive(Debug, Clone, Args)]
        #[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
        pub struct SecretFiles {
            $(
                #[arg(long, env = $file, global = true, hide_short_help = true, help = FILE_HELP)]
                pub $field: Option<String>,
            )*
            #[command(flatten)]
            pub databases: DatabaseFiles,
        }

        /// The file variables, without those of the services' own databases.
        const FILES: &[&str] = &[$($file),*];

        impl Settings {
            /// Reads the secrets from their files. Errors do not repeat the name of a file: it may be the secret.
            pub(crate) fn read_secrets(&mut self) -> Result<(), ConfigError> {
                $(
                    let (file, secret) = (&self.secret_files.$field, &mut self.$($place).+);
                    if let Some(read) = read_file(secret.as_ref(), ($file, file.as_deref()))? {
                        *secret = Some(read);
                    }
                )*
                let databases = &mut self.engines.databases;
                for service in ServiceName::ALL {
                    if let Store::Relational { file: variable, .. } = service.definition().store {
                        let file = self.secret_files.databases.of(service).map(String::as_str);
                        if let Some(read) = read_file(databases.of(service), (variable, file))? {
                            databases.set(service, read);
                        }
                    }
                }
                Ok(())
            }
        }
    };
}

secrets! {
    jwt_secret_file "JWT_SECRET_FILE" => tokens.jwt_secret;
    jwt_secret_previous_file "JWT_SECRET_PREVIOUS_FILE" => tokens.jwt_secret_previous;
    event_signing_key_file "EVENT_SIGNING_KEY_FILE" => signing.event_signing_key;
    event_signing_key_previous_file "EVENT_SIGNING_KEY_PREVIOUS_FILE" => signing.event_signing_key_previous;
    database_url_file "DATABASE_URL_FILE" => engines.database_url;
    db_password_file "DB_PASSWORD_FILE" => engines.db_password;
    mongo_uri_file "MONGO_URI_FILE" => engines.mongo_uri;
    redis_password_file "REDIS_PASSWORD_FILE" => engines.redis_security.redis_password;
    kafka_sasl_password_file "KAFKA_SASL_PASSWORD_FILE" => engines.kafka_security.kafka_sasl_password;
}

/// The secret in the file, if a file is named.
fn read_file(
    given: Option<&String>,
    (variable, file): (&'static str, Option<&str>),
) -> Result<Option<String>, ConfigError> {
    let Some(file) = file.filter(|file| !file.is_empty()) else {
        return Ok(None);
    };
    if given.is_some_and(|secret| !secret.is_empty()) {
        let twice = "is set, and so is the variable without _FILE; set one of them";
        return Err(ConfigError::new(variable, twice));
    }
    read_text(variable, file).map(Some)
}

/// The variable that holds the secret itself, for the variable of its file.
pub(crate) const fn variable_of(file: &'static str) -> &'static str {
    file.split_at(file.len() - "_FILE".len()).0
}

impl Secret {
    /// The secret that this variable holds, if any.
    pub(super) fn of(variable: &str) -> Option<Self> {
        let databases = ServiceName::ALL
            .into_iter()
            .filter_map(|service| match service.definition().store {
                Store::Relational { file, .. } => Some(file),
                Store::Carts | Store::None => None,
            });
        let secrets = FILES.iter().copied().chain(databases).map(|file| Self {
            variable: variable_of(file),
            file,
        });
        secrets.into_iter().find(|secret| secret.variable == variable)
    }

    /// Whether this is an address, of which only the login is secret.
    pub(super) fn is_address(self) -> bool {
        self.variable.ends_with("_URL") || self.variable.ends_with("_URI")
    }
}

/// The text of the file, without its last line ending.
fn read_text(variable: &'static str, file: &str) -> Result<String, ConfigError> {
    let wrong = |wants: String| ConfigError::new(variable, wants);
    let text = fs::read(file).map_err(|error| wrong(format!("the file cannot be read ({})", kind(&error))))?;
    let mut text = String::from_utf8(text).map_err(|_| wrong("the file must be text, in UTF-8".to_owned()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(wrong("the file is empty".to_owned()));
    }
    if text.contains('\0') {
        return Err(wrong("the file must be text, without NUL".to_owned()));
    }
    Ok(text)
}

/// The error without a path.
fn kind(error: &std::io::Error) -> String {
    error.kind().to_string()
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn settings(tweak: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::defaults();
        tweak(&mut settings);
        settings
    }

    fn file(text: &[u8]) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn every_setting_whose_name_says_that_it_is_secret_may_come_from_a_file() {
        let words = ["SECRET", "PASSWORD", "KEY", "TOKEN", "_URL", "_URI"];
        let command = Settings::augment_args(Command::new("all"));
        let variables = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
        let secret: Vec<_> = variables
            .filter(|name| words.iter().any(|word| name.contains(word)) && !name.ends_with("_FILE"))
            .collect();
        assert!(secret.len() >= 12);
        for variable in secret {
            assert!(
                Secret::of(variable).is_some(),
                "{variable} may not come from a file: list it above"
            );
        }
    }

    #[test]
    fn a_secret_is_the_text_of_its_file_without_the_last_line_ending() {
        for (text, secret) in [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), (" s \n\n", " s \n")] {
            let file = file(text.as_bytes());
            let name = file.to_str().unwrap().to_owned();
            let mut settings = settings(|settings| settings.secret_files.db_password_file = Some(name));
            settings.read_secrets().unwrap();
            assert_eq!(settings.engines.db_password.as_deref(), Some(secret));
        }
    }

    #[test]
    fn an_error_of_a_secret_file_names_the_variable_and_not_the_file() {
        let (empty, binary, nul) = (file(b"\n"), file(b"\xff\xfe"), file(b"a\0b"));
        let paths = [&empty, &binary, &nul].map(|path| path.to_str().unwrap().to_owned());
        for path in paths.into_iter().chain(["/s3cr3t".to_owned()]) {
            let mut settings = settings(|settings| settings.secret_files.jwt_secret_file = Some(path.clone()));
            let error = settings.read_secrets().unwrap_err().to_string();
            assert!(error.starts_with("JWT_SECRET_FILE: the file "), "{error}");
            assert!(!error.contains(&path) && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn a_secret_that_is_given_twice_is_refused() {
        let file = file(b"b");
        let name = file.to_str().unwrap().to_owned();
        let mut twice = settings(|settings| {
            settings.engines.mongo_uri = Some("a".to_owned());
            settings.secret_files.mongo_uri_file = Some(name);
        });
        assert_eq!(twice.read_secrets().unwrap_err().variable, "MONGO_URI_FILE");
        let mut nothing = settings(|settings| {
            settings.engines.mongo_uri = Some("a".to_owned());
            settings.secret_files.mongo_uri_file = Some(String::new());
        });
        nothing.read_secrets().unwrap();
        assert_eq!(nothing.engines.mongo_uri.as_deref(), Some("a"));
    }
}
