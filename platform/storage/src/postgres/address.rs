//! Addresses of PostgreSQL databases, and explanations of connection errors.

mod url;

use std::{fmt, io::ErrorKind, path::Path};

use runtime::config::{ConfigError, check_login, is_host};
use sqlx::{migrate::MigrateError, postgres::PgConnectOptions};

use crate::OpenError;
pub use sqlx::postgres::PgSslMode;

/// A database address, and the variables that set it. Never shows the password.
#[derive(Clone)]
pub struct PostgresAddress {
    connect: Box<PgConnectOptions>,
    variables: Variables,
    /// Settings that work but are doubtful.
    warnings: Vec<&'static str>,
}

/// The variable to correct for each kind of error.
#[derive(Debug, Clone, Copy)]
struct Variables {
    address: &'static str,
    login: &'static str,
    database: &'static str,
    tls: &'static str,
    ca_file: &'static str,
}

/// An address given as parts instead of a URL.
#[derive(Clone, Copy)]
pub struct PostgresParts<'a> {
    pub host: &'a str,
    pub port: u16,
    pub user: &'a str,
    pub password: Option<&'a str>,
    pub database: &'a str,
    pub tls: PostgresTls<'a>,
}

/// TLS requirements.
#[derive(Debug, Clone, Copy)]
pub struct PostgresTls<'a> {
    pub mode: PgSslMode,
    /// The certificates (PEM) of an authority that is trusted beside the public authorities.
    pub ca_file: Option<&'a Path>,
}

impl PostgresTls<'_> {
    /// Whether the server's certificate is verified. `require` with a CA file verifies, as in `libpq`.
    pub const fn verifies_certificates(&self) -> bool {
        match self.mode() {
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => true,
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::Require => false,
        }
    }

    /// The mode for sqlx, which alone never verifies with `require`.
    const fn mode(&self) -> PgSslMode {
        match (self.mode, self.ca_file) {
            (PgSslMode::Require, Some(_)) => PgSslMode::VerifyCa,
            (mode, _) => mode,
        }
    }
}

impl PostgresAddress {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`, the value of `variable`.
    pub fn from_url(variable: &'static str, url: &str) -> Result<Self, ConfigError> {
        let wants = "must read like postgres://user:password@host:5432/database";
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("postgres" | "postgresql")) {
            return Err(ConfigError::new(variable, wants));
        }
        check_login(variable, url)?;
        let (url, has_unknown) = url::drop_unknown_parameters(url);
        // The parser's error may quote the URL with its password.
        let connect: PgConnectOptions = url.parse().map_err(|_| ConfigError::new(variable, wants))?;
        let mode = url::mode(variable, &url, connect.get_ssl_mode())?;
        let address = Self {
            connect: Box::new(connect.ssl_mode(mode)),
            variables: Variables {
                address: variable,
                login: variable,
                database: variable,
                tls: variable,
                ca_file: variable,
            },
            warnings: has_unknown
                .then_some("unknown parameters of the URL are ignored")
                .into_iter()
                .collect(),
        };
        address.validated()
    }

    /// Builds the address from `DB_HOST` and the other `DB_*` variables.
    pub fn from_parts(parts: PostgresParts<'_>) -> Result<Self, ConfigError> {
        let mut connect = PgConnectOptions::new_without_pgpass()
            .host(parts.host)
            .port(parts.port)
            .username(parts.user)
            .database(parts.database)
            .ssl_mode(parts.tls.mode());
        if let Some(file) = parts.tls.ca_file {
            connect = connect.ssl_root_cert(file);
        }
        if let Some(password) = parts.password {
            connect = connect.password(password);
        }
        let address = Self {
            connect: Box::new(connect),
            variables: Variables {
                address: "DB_HOST",
                login: "DB_PASSWORD",
                database: "DB_NAME",
                tls: "DB_SSLMODE",
                ca_file: "DB_CA_FILE",
            },
            warnings: Vec::new(),
        };
        address.validated()
    }

    /// Refuses a host or a database name that may contain a login: messages show both.
    fn validated(mut self) -> Result<Self, ConfigError> {
        if !is_host(self.connect.get_host().trim_start_matches('[').trim_end_matches(']')) {
            let wants = "must be a host alone: a name or an address, without user, password and port";
            return Err(ConfigError::new(self.variables.address, wants));
        }
        let database = self.connect.get_database().unwrap_or_default();
        if database.contains(['@', ':', '/', '?', '%', '=']) {
            let wants = "must be the name of a database, without '@', ':', '/', '?', '%' and '='";
            return Err(ConfigError::new(self.variables.database, wants));
        }
        if matches!(self.connect.get_ssl_mode(), PgSslMode::VerifyCa) {
            self.warnings
                .push("verify-ca accepts any certificate of a public authority, whatever its name; set verify-full");
        }
        Ok(self)
    }

    /// Logs a warning for each doubtful setting.
    pub(crate) fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{}: {warning}", self.variables.tls);
        }
    }

    /// The same server and login, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            connect: Box::new((*self.connect).clone().database(database)),
            ..self.clone()
        }
    }

    pub(crate) fn connect(&self) -> PgConnectOptions {
        use sqlx::ConnectOptions;
        (*self.connect).clone().disable_statement_logging()
    }

    pub(crate) fn problem(&self, problem: &str) -> OpenError {
        self.problem_with(self.variables.address, problem)
    }

    fn problem_with(&self, variable: &'static str, problem: &str) -> OpenError {
        OpenError::Engine {
            variable,
            problem: format!("PostgreSQL at {self}: {problem}"),
        }
    }

    /// Explains why connecting failed, and what to do.
    pub(crate) fn explain(&self, error: &sqlx::Error) -> OpenError {
        let database = self.connect.get_database().unwrap_or("of that user");
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_default();
        let variable = match (&*code, error) {
            ("28P01" | "28000", _) => self.variables.login,
            ("3D000", _) => self.variables.database,
            (_, sqlx::Error::Tls(_)) => self.variables.tls,
            (_, sqlx::Error::Io(source)) if is_unknown_issuer(source) => self.variables.ca_file,
            _ => self.variables.address,
        };
        let problem = match (&*code, error) {
            // invalid_password, invalid_authorization_specification
            // The message does not name the user: somebody may have put the password there.
            ("28P01" | "28000", _) => "does not let this user in; check the user and the password".to_owned(),
            // invalid_catalog_name
            ("3D000", _) => format!("has no database {database}; create it, or name another"),
            ("53300", _) => "has no connection left; raise its max_connections, or run fewer processes".to_owned(),
            (_, sqlx::Error::Io(source)) if is_unknown_issuer(source) => {
                format!("has a certificate that nobody known vouches for ({source}); name the file of who does")
            }
            (_, sqlx::Error::Io(source)) if source.kind() == ErrorKind::InvalidData => {
                format!("is not who the address says ({source}); see sslmode and sslrootcert")
            }
            (_, sqlx::Error::Io(source)) => {
                format!("cannot be reached ({source}); start it, or correct the address")
            }
            (_, sqlx::Error::Tls(source)) => format!("cannot be reached by TLS ({source}); see sslmode"),
            (_, error) => format!("cannot be used ({error})"),
        };
        self.problem_with(variable, &problem)
    }

    pub(crate) fn explain_migration(&self, schema: &str, error: &MigrateError) -> OpenError {
        self.problem(&if matches!(error, MigrateError::VersionMissing(_)) {
            format!("schema {schema} was written by a newer version of this program; start that version")
        } else {
            format!("schema {schema} cannot be brought up to date ({error})")
        })
    }
}

/// Whether a certificate was rejected for its unknown issuer, and not for its name.
fn is_unknown_issuer(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::InvalidData && error.to_string().contains("UnknownIssuer")
}

/// `host:port/database`
impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.connect.get_host(), self.connect.get_port());
        let database = self.connect.get_database().unwrap_or_default();
        write!(f, "{host}:{port}/{database}")
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({} = {self})", self.variables.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_password() {
        let address = PostgresAddress::from_url("DATABASE_URL", "postgres://me:secret@db:5433/shop").unwrap();
        assert_eq!(address.to_string(), "db:5433/shop");
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn a_malformed_address_is_refused_naming_the_variable() {
        for wrong in ["", "db:5432", "mysql://me@db/shop", "postgres://me:secret@db:port/shop"] {
            let error = PostgresAddress::from_url("DATABASE_URL", wrong)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("DATABASE_URL: must read like"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
