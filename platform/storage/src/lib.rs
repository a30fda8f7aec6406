//! Opens databases safely: the data directory and its owner, SQLite with one writer and group commit, migrations,
//! pages.

mod cursor;
mod data_dir;
mod error;
mod migrations;
mod sqlite;

pub use cursor::{Cursor, CursorError, Page};
pub use data_dir::DataDir;
pub use error::{OpenError, StoreError};
pub use migrations::Migrations;
pub use sqlite::{Sqlite, SqliteOptions};
