//! Opens stores on every engine, and reads their tables directly.

use std::sync::Arc;

use inventory::{
    ports::StockStore,
    store::{PostgresStockStore, SqliteStockStore},
};
use runtime::Points;
use testing::{PostgresFixture, SqliteFixture};

const FILE: &str = "inventory.db";

/// Per product: its stock, the sums of its ledger, and its live reservations.
const BALANCES: &str = "
    SELECT product_id, stock.on_hand, stock.held, moved.on_hand, moved.held, coalesce(live.quantity, 0)
    FROM stock
    LEFT JOIN (SELECT product_id, CAST(sum(on_hand_delta) AS bigint) AS on_hand, CAST(sum(held_delta) AS bigint) AS held
               FROM ledger GROUP BY product_id) AS moved USING (product_id)
    LEFT JOIN (SELECT product_id, CAST(sum(quantity) AS bigint) AS quantity
               FROM reservation_lines JOIN reservations USING (checkout_id)
               WHERE state = 'HELD' GROUP BY product_id) AS live USING (product_id)";

/// A row of [`BALANCES`].
type Row = (i64, i64, i64, i64, i64, i64);

#[async_trait::async_trait]
pub(crate) trait StoreFixture: Send + Sync {
    /// Opens the same store with every call, as another process does.
    async fn open(&self) -> Arc<dyn StockStore>;

    async fn balances(&self) -> Vec<Row>;
}

#[async_trait::async_trait]
impl StoreFixture for SqliteFixture {
    async fn open(&self) -> Arc<dyn StockStore> {
        let store = SqliteStockStore::open(&self.file(FILE), &Points::none()).await;
        Arc::new(store.unwrap().0)
    }

    async fn balances(&self) -> Vec<Row> {
        let mut file = self.connect(FILE).await;
        sqlx::query_as(BALANCES).fetch_all(&mut file).await.unwrap()
    }
}

#[async_trait::async_trait]
impl StoreFixture for PostgresFixture {
    async fn open(&self) -> Arc<dyn StockStore> {
        let store = PostgresStockStore::open(&self.address(), &self.schema, &Points::none()).await;
        Arc::new(store.unwrap().0)
    }

    async fn balances(&self) -> Vec<Row> {
        let mut schema = self.connect().await;
        sqlx::query_as(BALANCES).fetch_all(&mut schema).await.unwrap()
    }
}
