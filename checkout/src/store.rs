//! Where the sagas are kept, and what else is asked of their tables.

pub mod postgres;
pub mod sqlite;

use std::{sync::Arc, time::Duration};

use ::saga::{
    Journal,
    journal::{postgres::PostgresJournal, sqlite::SqliteJournal},
};
use events::{Outbox, PostgresOutbox, SqliteOutbox};
use runtime::{Points, Probe, Tasks};
use storage::{OpenError, Postgres, PostgresOptions, Sqlite, SqliteOptions};

use crate::{config::Store, ports::CustomerRecords, saga::CheckoutMachine};
use postgres::PostgresRecords;
use sqlite::SqliteRecords;

/// The event of a checkout that was begun before carts had holds, and got no hold later, takes its pieces off the free lines.
/// Until the cart has read that event, nobody may buy these pieces again. The tables say whether the event is published, not
/// whether the cart has read it: it counts as unread for this long, or until the cart has a later version than the one that
/// was bought.
const UNREAD_FOR: Duration = Duration::from_hours(7 * 24);

/// A journal, the outbox that shares its commits, and whether both are there.
pub(crate) struct Opened {
    pub(crate) journal: Arc<dyn Journal<CheckoutMachine>>,
    pub(crate) records: Arc<dyn CustomerRecords>,
    pub(crate) outbox: Arc<dyn Outbox>,
    /// What runs for callers that may have gone away.
    pub(crate) transactions: Tasks,
    pub(crate) probe: Probe,
}

/// Opens a store, and brings its schema up to date.
pub(crate) async fn open(store: &Store, points: &Points) -> Result<Opened, OpenError> {
    match store {
        Store::Sqlite(path) => {
            let migrations = sqlite::MIGRATIONS;
            let db = Sqlite::open(SqliteOptions {
                path,
                migrations,
                points,
            })
            .await?;
            Ok(Opened {
                journal: Arc::new(SqliteJournal::new(db.clone())),
                records: Arc::new(SqliteRecords(db.clone())),
                outbox: Arc::new(SqliteOutbox(db.clone())),
                transactions: db.transactions(),
                probe: Probe::new("checkout-store", move || {
                    let db = db.clone();
                    async move { db.is_up().await }
                }),
            })
        }
        Store::Postgres(address) => {
            let (schema, migrations) = ("checkout", postgres::MIGRATIONS);
            let db = Postgres::open(PostgresOptions {
                address,
                schema,
                migrations,
                points,
            })
            .await?;
            Ok(Opened {
                journal: Arc::new(PostgresJournal::new(db.clone())),
                records: Arc::new(PostgresRecords(db.clone())),
                outbox: Arc::new(PostgresOutbox(db.clone())),
                transactions: db.transactions(),
                probe: Probe::new("checkout-postgresql", move || {
                    let db = db.clone();
                    async move { db.is_up().await }
                }),
            })
        }
    }
}
