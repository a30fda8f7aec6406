//! A place for the SQLite adapter.

use std::sync::Arc;

use inventory::{ports::StockStore, store::SqliteStockStore};
use runtime::CrashPoints;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use super::{Books, Fixture};

pub(crate) struct SqliteFixture(tempfile::TempDir);

impl SqliteFixture {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("inventory.db")
    }
}

#[async_trait::async_trait]
impl Fixture for SqliteFixture {
    async fn open(&self) -> Arc<dyn StockStore> {
        Arc::new(
            SqliteStockStore::open(&self.path(), &CrashPoints::none())
                .await
                .unwrap()
                .0,
        )
    }

    async fn books(&self) -> Vec<Books> {
        let mut connection = SqliteConnectOptions::new()
            .filename(self.path())
            .connect()
            .await
            .unwrap();
        let rows: Vec<(i64, i64, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT product_id, stock.on_hand, stock.held, moved.on_hand, moved.held, coalesce(live.quantity, 0)
             FROM stock
             LEFT JOIN (SELECT product_id, sum(on_hand_delta) AS on_hand, sum(held_delta) AS held
                        FROM ledger GROUP BY product_id) AS moved USING (product_id)
             LEFT JOIN (SELECT product_id, sum(quantity) AS quantity
                        FROM reservation_lines JOIN reservations USING (checkout_id)
                        WHERE state = 'HELD' GROUP BY product_id) AS live USING (product_id)",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let books = |(product, on_hand, held, moved_on_hand, moved_held, live_holds)| Books {
            product,
            stock: (on_hand, held),
            ledger: (moved_on_hand, moved_held),
            live_holds,
        };
        rows.into_iter().map(books).collect()
    }
}
