//! How PostgreSQL is spoken to, when it is named by its parts.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use runtime::config::{ConfigError, check_ca_file};
use storage::{PgSslMode, PostgresTls};

use super::set;

/// The settings of the link to `DB_HOST`. A URL says the same in `sslmode` and `sslrootcert`.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct PostgresSecurity {
    /// What PostgreSQL has to show, for `DB_HOST`: verify-full is TLS with a certificate of this name.
    #[arg(long, env, global = true, default_value = "prefer", hide_short_help = true, value_parser = sslmodes())]
    pub db_sslmode: PgSslMode,
    /// The certificates (PEM) of who vouches for PostgreSQL, for `DB_HOST` [default: the public authorities].
    #[arg(long, env, global = true, hide_short_help = true)]
    pub db_ca_file: Option<String>,
}

fn sslmodes() -> impl TypedValueParser<Value = PgSslMode> {
    let names = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    PossibleValuesParser::new(names).try_map(|name| name.parse::<PgSslMode>())
}

impl PostgresSecurity {
    pub(super) fn tls(&self) -> PostgresTls<'_> {
        PostgresTls {
            mode: self.db_sslmode,
            ca_file: set(self.db_ca_file.as_ref()).map(AsRef::as_ref),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Some(file) = set(self.db_ca_file.as_ref()) else {
            return Ok(());
        };
        if !self.tls().looks_at_certificates() {
            let wants = "is set, but with this DB_SSLMODE no certificate is looked at; set DB_SSLMODE=verify-full";
            return Err(ConfigError::new("DB_CA_FILE", wants));
        }
        check_ca_file("DB_CA_FILE", file)
    }
}
