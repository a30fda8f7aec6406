//! TLS to PostgreSQL, if the address is given in parts.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use runtime::config::{ConfigError, check_ca_file};
use storage::{PgSslMode, PostgresTls};

use super::non_empty;

/// For `DB_HOST`. A URL has `sslmode` and `sslrootcert` instead.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct PostgresSecurity {
    /// The TLS mode, for `DB_HOST`: verify-full is TLS with a certificate of this host name.
    #[arg(long, env, global = true, default_value = "prefer", hide_short_help = true, value_parser = sslmodes())]
    pub db_sslmode: PgSslMode,
    /// The CA certificates (PEM) that verify PostgreSQL, for `DB_HOST` [default: the public authorities].
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
            ca_file: non_empty(self.db_ca_file.as_ref()).map(AsRef::as_ref),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Some(file) = non_empty(self.db_ca_file.as_ref()) else {
            return Ok(());
        };
        if !self.tls().verifies_certificates() {
            let wants = "is set, but this DB_SSLMODE verifies no certificate; set DB_SSLMODE=verify-full";
            return Err(ConfigError::new("DB_CA_FILE", wants));
        }
        check_ca_file("DB_CA_FILE", file)
    }
}
