//! Opens databases safely: SQLite with one writer and group commit, PostgreSQL, the data directory, migrations, paging.

mod batches;
mod bounded;
mod cursor;
mod data_dir;
mod error;
mod heartbeat;
mod migrations;
mod page_token;
mod postgres;
pub mod private;
mod row;
mod sqlite;

pub use batches::in_batches;
pub use bounded::{BoundedError, Bounds};
pub use cursor::{Cursor, Page};
pub use data_dir::DataDir;
pub use error::{OpenError, StoreError};
pub use heartbeat::Heartbeat;
pub use migrations::Migrations;
pub use page_token::{from_page_token, to_page_token};
pub use postgres::{
    PgSslMode, Postgres, PostgresAddress, PostgresBounded, PostgresOptions, PostgresParts, PostgresReader, PostgresTls,
    SqlTimestamp, timestamptz,
};
pub use row::{Row, Transaction, Value};
pub use sqlite::{Sqlite, SqliteBounded, SqliteOptions};

/// Where a service keeps its tables.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file, created if missing.
    Sqlite(std::path::PathBuf),
    /// A schema of its own in a PostgreSQL database.
    Postgres(PostgresAddress),
}
