//! Errors of stores.

use std::path::PathBuf;

use sqlx::error::ErrorKind;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a store operation failed. Nothing was changed, except that the outcome of a write with `Unavailable` is unknown.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer was first: a unique key is taken, or a version or fencing token has advanced.
    #[error("conflict")]
    Conflict,
    /// The store is unreachable, full or busy. A retry may succeed.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// The stored data cannot be decoded, a statement is wrong, or the operation panicked. A retry does not help.
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

/// Whether a PostgreSQL code (SQLSTATE) is a data exception, a syntax error or an access rule violation. A missing
/// table or privilege is not permanent: somebody may be restoring or maintaining the database.
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
                // Full, busy, locked, a deadlock, an I/O error, a server that shuts down.
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

/// Why a data directory, a database or an engine could not be opened. The message says what to do. It contains the text
/// of the cause; so `cause` is no `source`, or a printed error chain would repeat the text.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("DATA_DIR {}: in use by {holder}; stop that process or set another DATA_DIR", path.display())]
    InUse { path: PathBuf, holder: String },
    #[error("DATA_DIR {}: cannot be used: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    /// A file in the data directory is not acceptable.
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
    /// A network engine cannot be used. `problem` has the engine's answer and what to do, without secrets.
    #[error("{variable}: {problem}")]
    Engine { variable: &'static str, problem: String },
    #[error("the linked SQLite is {found}; 3.51.3 or newer is needed, because older ones can corrupt a WAL database")]
    SqliteTooOld { found: String },
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_message_contains_its_cause_once() {
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
            // A printer that follows the sources blindly must not repeat the cause either.
            assert!(error.source().is_none(), "{said}");
            assert_eq!(said.matches("no room on the disk").count(), 1, "{said}");
        }
        // sqlx includes the text of its sources, too.
        let error = StoreError::from(sqlx::Error::Io(cause()));
        assert!(error.source().is_some(), "a store error has its cause as its source");
        let said = "the store is unavailable: error communicating with database: no room on the disk";
        assert_eq!(runtime::telemetry::chain(&error), said);
    }
}
