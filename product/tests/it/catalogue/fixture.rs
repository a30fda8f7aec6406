//! Places for catalogues, one kind an adapter.

use std::sync::Arc;

use product::{
    ports::Catalogue,
    store::{PostgresCatalogue, SqliteCatalogue},
};
use runtime::Points;
use sqlx::{Connection, SqliteConnection};
use storage::PostgresAddress;
use testing::Engine;

/// A place for one catalogue, which may be opened again and again.
#[async_trait::async_trait]
pub(crate) trait Fixture: Send + Sync {
    /// `None` when its engine is not there, which was said.
    fn new() -> Option<Self>
    where
        Self: Sized;

    /// The catalogue, as a process that starts now opens it.
    async fn open(&self) -> Arc<dyn Catalogue>;

    /// Runs statements behind the catalogue's back.
    async fn execute(&self, sql: &'static str);
}

pub(crate) struct SqliteFixture(tempfile::TempDir);

#[async_trait::async_trait]
impl Fixture for SqliteFixture {
    fn new() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    async fn open(&self) -> Arc<dyn Catalogue> {
        let path = self.0.path().join("product.db");
        Arc::new(SqliteCatalogue::open(&path, &Points::none()).await.unwrap().0)
    }

    async fn execute(&self, sql: &'static str) {
        let url = format!("sqlite://{}", self.0.path().join("product.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

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

    async fn open(&self) -> Arc<dyn Catalogue> {
        let address = PostgresAddress::from_url(Engine::PostgreSql.variable(), &self.url).unwrap();
        let catalogue = PostgresCatalogue::open(&address, &self.schema, &Points::none()).await;
        Arc::new(catalogue.unwrap().0)
    }

    async fn execute(&self, sql: &'static str) {
        testing::postgres::execute(&self.url, &self.schema, sql).await.unwrap();
    }
}
