//! Adapters of the catalogue's port.

mod folding;
mod postgres;
mod row;
mod sqlite;

use std::sync::Arc;

use runtime::{CrashPoints, Probe};
use storage::OpenError;

use crate::{config::Store, ports::Catalogue};

pub use postgres::PostgresCatalogue;
pub use sqlite::SqliteCatalogue;

const SCHEMA: &str = "product";

/// Opens the store that was configured, with a probe for its health.
pub(crate) async fn open(store: &Store, crash: &CrashPoints) -> Result<(Arc<dyn Catalogue>, Probe), OpenError> {
    match store {
        Store::Sqlite(path) => {
            let (catalogue, db) = SqliteCatalogue::open(path, crash).await?;
            let probe = Probe::new("product-store", move || {
                let db = db.clone();
                async move { db.is_up().await }
            });
            Ok((Arc::new(catalogue), probe))
        }
        Store::Postgres(address) => {
            let (catalogue, db) = PostgresCatalogue::open(address, SCHEMA, crash).await?;
            let probe = Probe::new("product-postgresql", move || {
                let db = db.clone();
                async move { db.is_up().await }
            });
            Ok((Arc::new(catalogue), probe))
        }
    }
}
