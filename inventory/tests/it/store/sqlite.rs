//! A place for the SQLite adapter.

use std::sync::Arc;

use inventory::{ports::StockStore, store::SqliteStockStore};
use runtime::Points;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use super::{BOOKS, Fixture};

pub(crate) struct SqliteFixture(tempfile::TempDir);

impl SqliteFixture {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("inventory.db")
    }
}

#[async_trait::async_trait]
impl Fixture for SqliteFixture {
    fn new() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    async fn open(&self) -> Arc<dyn StockStore> {
        Arc::new(SqliteStockStore::open(&self.path(), &Points::none()).await.unwrap().0)
    }

    async fn books(&self) -> Vec<(i64, i64, i64, i64, i64, i64)> {
        let file = SqliteConnectOptions::new().filename(self.path());
        let mut connection = file.connect().await.unwrap();
        sqlx::query_as(BOOKS).fetch_all(&mut connection).await.unwrap()
    }
}
