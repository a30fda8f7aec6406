//! How stores are opened on every engine, and their books read past the port.

use std::sync::Arc;

use inventory::{
    ports::StockStore,
    store::{PostgresStockStore, SqliteStockStore},
};
use runtime::Points;
use testing::{PostgresFixture, SqliteFixture};

const FILE: &str = "inventory.db";

/// Per product: what its stock says, what its ledger adds up to, and what reservations hold. The same text for all databases.
const BOOKS: &str = "
    SELECT product_id, stock.on_hand, stock.held, moved.on_hand, moved.held, coalesce(live.quantity, 0)
    FROM stock
    LEFT JOIN (SELECT product_id, CAST(sum(on_hand_delta) AS bigint) AS on_hand, CAST(sum(held_delta) AS bigint) AS held
               FROM ledger GROUP BY product_id) AS moved USING (product_id)
    LEFT JOIN (SELECT product_id, CAST(sum(quantity) AS bigint) AS quantity
               FROM reservation_lines JOIN reservations USING (checkout_id)
               WHERE state = 'HELD' GROUP BY product_id) AS live USING (product_id)";

/// A row of [`BOOKS`].
type Row = (i64, i64, i64, i64, i64, i64);

/// Stores at one place.
#[async_trait::async_trait]
pub(crate) trait Stores: Send + Sync {
    /// The store, as a process that starts now opens it.
    async fn open(&self) -> Arc<dyn StockStore>;

    async fn books(&self) -> Vec<Row>;
}

#[async_trait::async_trait]
impl Stores for SqliteFixture {
    async fn open(&self) -> Arc<dyn StockStore> {
        let store = SqliteStockStore::open(&self.file(FILE), &Points::none()).await;
        Arc::new(store.unwrap().0)
    }

    async fn books(&self) -> Vec<Row> {
        let mut file = self.connect(FILE).await;
        sqlx::query_as(BOOKS).fetch_all(&mut file).await.unwrap()
    }
}

#[async_trait::async_trait]
impl Stores for PostgresFixture {
    async fn open(&self) -> Arc<dyn StockStore> {
        let store = PostgresStockStore::open(&self.address(), &self.schema, &Points::none()).await;
        Arc::new(store.unwrap().0)
    }

    async fn books(&self) -> Vec<Row> {
        let mut schema = self.connect().await;
        sqlx::query_as(BOOKS).fetch_all(&mut schema).await.unwrap()
    }
}
