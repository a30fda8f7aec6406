//! Adapters of the catalogue's port.

mod marking;
mod postgres;
mod row;
mod sqlite;

use std::{sync::Arc, time::Duration};

use runtime::{Points, Probe, deadlines::STORE_ANSWER};
use storage::{Bounds, OpenError};

use crate::{config::Store, ports::Catalogue};

pub use postgres::PostgresCatalogue;
pub use sqlite::SqliteCatalogue;

const SCHEMA: &str = "product";
/// Anybody may search, and nobody pays for it: two at once take connections and threads of their own, so that carts and
/// checkouts, which ask for products by their ids, wait for none of them. One that was found takes about a millisecond, so that
/// the last of those that wait has its turn within the time, unless something is wrong; the time is less than any caller's.
const SEARCHES: Bounds = Bounds {
    concurrent: 2,
    waiting: 64,
    timeout: Duration::from_secs(1),
};

/// Pages without a query need no token either, and have connections of their own for the same reason. Each page takes the same
/// short time, so as many readers may wait as a process has calls in flight. The time is shorter than the deadline of a call.
const LISTS: Bounds = Bounds {
    concurrent: 2,
    waiting: 2048,
    timeout: STORE_ANSWER,
};

/// Opens the store that was configured, with a probe for its health.
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
