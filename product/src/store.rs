//! Adapters of the catalogue's port.

mod postgres;
mod row;
mod search;
mod sqlite;

use std::{sync::Arc, time::Duration};

use runtime::{Points, Probe, deadlines::STORE_ANSWER};
use storage::{Bounds, OpenError};

use crate::{config::Store, ports::Catalogue};

pub use postgres::PostgresCatalogue;
pub use sqlite::SqliteCatalogue;

const SCHEMA: &str = "product";
/// Searches need no token, so two at a time run on connections of their own, and lookups by id for carts and checkouts
/// never wait for them. A search takes about a millisecond, so that the whole queue is served within the timeout. The
/// timeout is shorter than the deadline of any caller.
const SEARCHES: Bounds = Bounds {
    concurrent: 2,
    waiting: 64,
    timeout: Duration::from_secs(1),
};

/// Pages without a query need no token either and have their own connections as well. All pages take the same short
/// time, so the queue is as long as a process has calls in flight. The timeout is shorter than the deadline of a call.
const LISTS: Bounds = Bounds {
    concurrent: 2,
    waiting: 2048,
    timeout: STORE_ANSWER,
};

/// Opens the configured store, with a readiness probe.
pub(crate) async fn open(store: &Store, points: &Points) -> Result<(Arc<dyn Catalogue>, Probe), OpenError> {
    match store {
        Store::Sqlite(path) => {
            let (catalogue, db) = SqliteCatalogue::open(path, points).await?;
            let probe = Probe::new("product-store", move || {
                let db = db.clone();
                async move { db.is_up().await }
            });
            Ok((Arc::new(catalogue), probe))
        }
        Store::Postgres(address) => {
            let (catalogue, db) = PostgresCatalogue::open(address, SCHEMA, points).await?;
            let probe = Probe::new("product-postgresql", move || {
                let db = db.clone();
                async move { db.is_up().await }
            });
            Ok((Arc::new(catalogue), probe))
        }
    }
}
