//! Where a PostgreSQL database is, and what is wrong when it cannot be used.

use std::{fmt, io::ErrorKind};

use runtime::config::{ConfigError, check_login};
use sqlx::{
    migrate::MigrateError,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::OpenError;

/// A database, and the variables that name it. The password does not show.
#[derive(Clone)]
pub struct PostgresAddress {
    connect: Box<PgConnectOptions>,
    variables: Variables,
}

/// Which variable to correct.
#[derive(Debug, Clone, Copy)]
struct Variables {
    address: &'static str,
    login: &'static str,
    database: &'static str,
}

/// The parts of an address that has no URL.
#[derive(Clone, Copy)]
pub struct PostgresParts<'a> {
    pub host: &'a str,
    pub port: u16,
    pub user: &'a str,
    pub password: Option<&'a str>,
    pub database: &'a str,
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
        // What the parser says may quote the URL, with its password.
        let connect = url.parse().map_err(|_| ConfigError::new(variable, wants))?;
        Ok(Self {
            connect: Box::new(connect),
            variables: Variables {
                address: variable,
                login: variable,
                database: variable,
            },
        })
    }

    /// The same from its parts, which are `DB_HOST` and its neighbours.
    pub fn from_parts(parts: PostgresParts<'_>) -> Self {
        let connect = PgConnectOptions::new_without_pgpass()
            .host(parts.host)
            .port(parts.port)
            .username(parts.user)
            .database(parts.database)
            .ssl_mode(PgSslMode::Prefer);
        Self {
            connect: Box::new(match parts.password {
                Some(password) => connect.password(password),
                None => connect,
            }),
            variables: Variables {
                address: "DB_HOST",
                login: "DB_PASSWORD",
                database: "DB_NAME",
            },
        }
    }

    /// The same server and login, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            connect: Box::new((*self.connect).clone().database(database)),
            variables: self.variables,
        }
    }

    pub(crate) fn connect(&self) -> PgConnectOptions {
        use sqlx::ConnectOptions;
        (*self.connect).clone().disable_statement_logging()
    }

    pub(crate) fn problem(&self, problem: &str) -> OpenError {
        self.problem_of(self.variables.address, problem)
    }

    fn problem_of(&self, variable: &'static str, problem: &str) -> OpenError {
        OpenError::Engine {
            variable,
            problem: format!("PostgreSQL at {self}: {problem}"),
        }
    }

    /// Why a connection was not made, and what to do.
    pub(crate) fn explain(&self, error: &sqlx::Error) -> OpenError {
        let user = self.connect.get_username();
        let database = self.connect.get_database().unwrap_or(user);
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_default();
        let variable = match &*code {
            "28P01" | "28000" => self.variables.login,
            "3D000" => self.variables.database,
            _ => self.variables.address,
        };
        let problem = match (&*code, error) {
            // invalid_password, invalid_authorization_specification
            // The user of a URL is not repeated: it may be what the password was written for.
            ("28P01" | "28000", _) if self.variables.login == self.variables.address => {
                "does not let this user in; check the user and the password".to_owned()
            }
            ("28P01" | "28000", _) => format!("does not let user {user} in; check the user and the password"),
            // invalid_catalog_name
            ("3D000", _) => format!("has no database {database}; create it, or name another"),
            ("53300", _) => "has no connection left; raise its max_connections, or run fewer processes".to_owned(),
            (_, sqlx::Error::Io(source)) if source.kind() == ErrorKind::InvalidData => {
                format!("is not who the address says ({source}); see sslmode and sslrootcert")
            }
            (_, sqlx::Error::Io(source)) => {
                format!("cannot be reached ({source}); start it, or correct the address")
            }
            (_, sqlx::Error::Tls(source)) => format!("cannot be reached by TLS ({source}); see sslmode"),
            (_, error) => format!("cannot be used ({error})"),
        };
        self.problem_of(variable, &problem)
    }

    pub(crate) fn explain_migration(&self, schema: &str, error: &MigrateError) -> OpenError {
        self.problem(&if matches!(error, MigrateError::VersionMissing(_)) {
            format!("schema {schema} was written by a newer version of this program; start that version")
        } else {
            format!("schema {schema} cannot be brought up to date ({error})")
        })
    }
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
    fn what_is_no_address_is_told_by_its_variable() {
        for wrong in ["", "db:5432", "mysql://me@db/shop", "postgres://me:secret@db:port/shop"] {
            let error = PostgresAddress::from_url("DATABASE_URL", wrong)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("DATABASE_URL: must read like"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
