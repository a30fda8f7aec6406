//! Isolated SQLite files.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::Fixture;

/// A folder for SQLite files, removed on drop.
#[derive(Debug)]
pub struct SqliteFixture(TempDir);

impl Fixture for SqliteFixture {
    fn new() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }
}

impl SqliteFixture {
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The path of the file with this name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A connection beside the adapter, to an existing file.
    pub async fn connect(&self, name: &str) -> SqliteConnection {
        let file = SqliteConnectOptions::new().filename(self.file(name));
        file.connect().await.unwrap()
    }

    /// Runs statements on a connection beside the adapter.
    pub async fn execute(&self, name: &str, statements: &str) {
        let mut connection = self.connect(name).await;
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}
