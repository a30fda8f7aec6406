//! A place for the PostgreSQL adapter.

use std::sync::Arc;

use inventory::{ports::StockStore, store::PostgresStockStore};
use runtime::Points;
use sqlx::{Connection, PgConnection};
use storage::PostgresAddress;
use testing::Engine;

use super::{BOOKS, Fixture};

/// A schema of its own.
pub(crate) struct PostgresFixture {
    pub(crate) url: String,
    pub(crate) schema: String,
}

#[async_trait::async_trait]
impl Fixture for PostgresFixture {
    fn new() -> Option<Self> {
        Some(Self {
            url: Engine::PostgreSql.address()?,
            schema: testing::unique_name(),
        })
    }

    async fn open(&self) -> Arc<dyn StockStore> {
        let address = PostgresAddress::from_url(Engine::PostgreSql.variable(), &self.url).unwrap();
        let store = PostgresStockStore::open(&address, &self.schema, &Points::none()).await;
        Arc::new(store.unwrap().0)
    }

    async fn books(&self) -> Vec<(i64, i64, i64, i64, i64, i64)> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query("SELECT set_config('search_path', $1, false)")
            .bind(&self.schema)
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::query_as(BOOKS).fetch_all(&mut connection).await.unwrap()
    }
}

/// What a start writes into an empty schema is there once, whoever was first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_together_write_the_starting_stock_once() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let stores = futures::future::join_all((0..8).map(|_| fixture.open())).await;
    for store in stores {
        let stock = store.stock(None, 100).await.unwrap();
        let on_hand: Vec<_> = stock.iter().map(|stock| stock.on_hand).collect();
        assert_eq!(on_hand, [100, 500, 300, 150, 200]);
    }
    super::assert_balanced(&fixture).await;
}
