//! Opens the store: the journal of the sagas, the customer records, the outbox.

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

/// A checkout without a hold removes its pieces from the free lines only when the cart reads its event. Nobody may buy
/// these pieces again before that. The tables know whether the event is published, but not whether the cart has read
/// it. It counts as unread for this long, or until the cart has a later version than the one that was bought.
const UNREAD_FOR: Duration = Duration::from_hours(7 * 24);

/// A journal, the outbox that shares its commits, and their probe.
pub(crate) struct OpenStore {
    pub(crate) journal: Arc<dyn Journal<CheckoutMachine>>,
    pub(crate) records: Arc<dyn CustomerRecords>,
    pub(crate) outbox: Arc<dyn Outbox>,
    /// Transactions that go on after their caller went away.
    pub(crate) transactions: Tasks,
    pub(crate) probe: Probe,
}

/// Opens a store, and migrates its schema.
pub(crate) async fn open(store: &Store, points: &Points) -> Result<OpenStore, OpenError> {
    match store {
        Store::Sqlite(path) => {
            let migrations = sqlite::MIGRATIONS;
            let db = Sqlite::open(SqliteOptions {
                path,
                migrations,
                points,
            })
            .await?;
            Ok(OpenStore {
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
            Ok(OpenStore {
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
