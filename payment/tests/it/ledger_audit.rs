//! Reads the provider's ledger from its database, as an auditor would.

use std::path::Path;

use payment::domain::CheckoutId;
use sqlx::{
    PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::SqliteConnectOptions,
};

/// A read-only connection to the ledger. The tables are the same on both engines.
#[derive(Debug, Clone)]
pub(crate) enum LedgerAudit {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl LedgerAudit {
    pub(crate) async fn of_file(path: &Path) -> Self {
        let file = SqliteConnectOptions::new().filename(path).read_only(true);
        Self::Sqlite(SqlitePool::connect_with(file).await.unwrap())
    }

    pub(crate) fn of_schema(url: &str, schema: &str) -> Self {
        let database: PgConnectOptions = url.parse().unwrap();
        let database = database.options([("search_path", schema)]);
        Self::Postgres(PgPoolOptions::new().max_connections(1).connect_lazy_with(database))
    }

    async fn count(&self, sql: &'static str, checkout: CheckoutId) -> i64 {
        let key = checkout.to_string();
        match self {
            Self::Sqlite(file) => sqlx::query_scalar(sql).bind(key).fetch_one(file).await.unwrap(),
            Self::Postgres(schema) => sqlx::query_scalar(sql).bind(key).fetch_one(schema).await.unwrap(),
        }
    }

    pub(crate) async fn attempts(&self, checkout: CheckoutId) -> i64 {
        let sql = "SELECT CAST(coalesce(sum(attempts), 0) AS bigint) FROM attempts WHERE idempotency_key = $1";
        self.count(sql, checkout).await
    }

    /// The charges of a checkout less its refunds, in minor units.
    pub(crate) async fn net_charged(&self, checkout: CheckoutId) -> i64 {
        let sql = "SELECT CAST((SELECT coalesce(sum(amount), 0) FROM charges \
                   WHERE idempotency_key = $1 AND outcome = 'SUCCEEDED') \
                   - (SELECT coalesce(sum(amount), 0) FROM refunds WHERE idempotency_key = $1) AS bigint)";
        self.count(sql, checkout).await
    }

    /// The number of rows of a checkout: successful charges, declined charges, refunds, tombstones.
    pub(crate) async fn row_counts(&self, checkout: CheckoutId) -> [i64; 4] {
        let charges = "SELECT count(*) FROM charges WHERE idempotency_key = $1 AND outcome = 'SUCCEEDED'";
        let declined = "SELECT count(*) FROM charges WHERE idempotency_key = $1 AND outcome = 'DECLINED'";
        let refunds = "SELECT count(*) FROM refunds WHERE idempotency_key = $1";
        let tombstones = "SELECT count(*) FROM tombstones WHERE idempotency_key = $1";
        [
            self.count(charges, checkout).await,
            self.count(declined, checkout).await,
            self.count(refunds, checkout).await,
            self.count(tombstones, checkout).await,
        ]
    }
}
