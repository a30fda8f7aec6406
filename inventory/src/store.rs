//! Adapters of the inventory's port.

mod postgres;
mod row;
mod sqlite;

use std::sync::Arc;

use runtime::{Points, Probe};
use storage::OpenError;

use crate::{config::Store, ports::StockStore};

pub use postgres::PostgresStockStore;
pub use sqlite::SqliteStockStore;

const SCHEMA: &str = "inventory";

/// Opens the configured store, with a readiness probe.
pub(crate) async fn open(store: &Store, points: &Points) -> Result<(Arc<dyn StockStore>, Probe), OpenError> {
    match store {
        Store::Sqlite(path) => {
            let (store, db) = SqliteStockStore::open(path, points).await?;
            let probe = Probe::new("inventory-store", move || {
                let db = db.clone();
                async move { db.is_up().await }
            });
            Ok((Arc::new(store), probe))
        }
        Store::Postgres(address) => {
            let (store, db) = PostgresStockStore::open(address, SCHEMA, points).await?;
            let probe = Probe::new("inventory-postgresql", move || {
                let db = db.clone();
                async move { db.is_up().await }
            });
            Ok((Arc::new(store), probe))
        }
    }
}
