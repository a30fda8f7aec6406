//! Opens catalogues on every engine.

use std::sync::Arc;

use product::{
    ports::Catalogue,
    store::{PostgresCatalogue, SqliteCatalogue},
};
use runtime::Points;
use testing::{PostgresFixture, SqliteFixture};

const FILE: &str = "product.db";

#[async_trait::async_trait]
pub(crate) trait StoreFixture: Send + Sync {
    /// Opens the same catalogue with every call, as another process does.
    async fn open(&self) -> Arc<dyn Catalogue>;

    /// Runs statements directly on the database.
    async fn execute(&self, sql: &str);
}

#[async_trait::async_trait]
impl StoreFixture for SqliteFixture {
    async fn open(&self) -> Arc<dyn Catalogue> {
        let catalogue = SqliteCatalogue::open(&self.file(FILE), &Points::none()).await;
        Arc::new(catalogue.unwrap().0)
    }

    async fn execute(&self, sql: &str) {
        SqliteFixture::execute(self, FILE, sql).await;
    }
}

#[async_trait::async_trait]
impl StoreFixture for PostgresFixture {
    async fn open(&self) -> Arc<dyn Catalogue> {
        let catalogue = PostgresCatalogue::open(&self.address(), &self.schema, &Points::none()).await;
        Arc::new(catalogue.unwrap().0)
    }

    async fn execute(&self, sql: &str) {
        PostgresFixture::execute(self, sql).await;
    }
}
