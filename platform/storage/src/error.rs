//! What can go wrong with a store.

use std::path::PathBuf;

use sqlx::error::ErrorKind;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a store did not do what it was asked to. Nothing was changed, except for `Unavailable` from a write: then it is
/// not known.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was first: a unique key is taken, or a version or a fence has moved on.
    #[error("conflict")]
    Conflict,
    /// The store cannot be reached, or is full or busy; later it may do it.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// What is stored cannot be understood, or a statement is wrong; trying again will not help.
    #[error("the store holds something unexpected")]
    Corrupt(#[source] Source),
}

impl StoreError {
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }

    pub fn corrupt(source: impl Into<Source>) -> Self {
        Self::Corrupt(source.into())
    }
}

/// Of PostgreSQL's codes (SQLSTATE): a data exception, a syntax error or a violation of access rules. But a table that is not
/// there and a right that was not given may be so while somebody restores or maintains the database.
fn is_wrong_for_good(code: &str) -> bool {
    const UNDEFINED_TABLE: &str = "42P01";
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    code.len() == 5
        && (code.starts_with("22") || code.starts_with("42"))
        && ![UNDEFINED_TABLE, INSUFFICIENT_PRIVILEGE].contains(&code)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error {
            let wrong = database.code().is_some_and(|code| is_wrong_for_good(&code));
            let violation = wrong
                || database.is_foreign_key_violation()
                || database.is_check_violation()
                || matches!(
                    database.kind(),
                    ErrorKind::NotNullViolation | ErrorKind::ExclusionViolation
                );
            return if database.is_unique_violation() {
                Self::Conflict
            } else if violation {
                Self::corrupt(error)
            } else {
                // Full, busy, locked, a deadlock, an I/O error, shutting down.
                Self::unavailable(error)
            };
        }
        if matches!(
            error,
            sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnIndexOutOfBounds { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::RowNotFound
        ) {
            return Self::corrupt(error);
        }
        Self::unavailable(error)
    }
}

/// Why a data directory, a database or another engine could not be opened. Each message says what to do. It holds the text of
/// its cause, which is no source therefore: who prints a chain of sources would say it twice.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("DATA_DIR {}: in use by {holder}; stop that process or set another DATA_DIR", path.display())]
    InUse { path: PathBuf, holder: String },
    #[error("DATA_DIR {}: cannot be used: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    /// A file in there: it is not taken as it is.
    #[error("{}: cannot be used: {cause}", path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error("{}: cannot be opened: {cause}", path.display())]
    Database { path: PathBuf, cause: sqlx::Error },
    #[error("{}: was written by a newer version of this program; start that version, or set another DATA_DIR", path.display())]
    Newer { path: PathBuf },
    #[error("{}: cannot be brought up to date: {cause}", path.display())]
    Migration {
        path: PathBuf,
        cause: sqlx::migrate::MigrateError,
    },
    /// An engine on the network cannot be used. `problem` says what it answered and what to do, without any secret.
    #[error("{variable}: {problem}")]
    Engine { variable: &'static str, problem: String },
    #[error("the linked SQLite is {found}; 3.51.3 or newer is needed, because older ones can corrupt a WAL database")]
    SqliteTooOld { found: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let path = || PathBuf::from("/shop");
        let cause = || std::io::Error::other("no room on the disk");
        let errors = [
            OpenError::Io {
                path: path(),
                cause: cause(),
            },
            OpenError::File {
                path: path(),
                cause: cause(),
            },
            OpenError::Database {
                path: path(),
                cause: sqlx::Error::Io(cause()),
            },
            OpenError::Migration {
                path: path(),
                cause: sqlx::Error::Io(cause()).into(),
            },
        ];
        for error in errors {
            let said = runtime::telemetry::chain(&error);
            assert_eq!(said.matches("no room on the disk").count(), 1, "{said}");
        }
        // sqlx says the text of its own sources, too.
        let error = StoreError::from(sqlx::Error::Io(cause()));
        let said = "the store is unavailable: error communicating with database: no room on the disk";
        assert_eq!(runtime::telemetry::chain(&error), said);
    }
}
