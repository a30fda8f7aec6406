//! Adapters of the journal, and what they have in common.

pub mod postgres;
mod row;
pub mod sqlite;

use std::sync::Arc;

use events::{Outbox, PostgresOutbox, SqliteOutbox};
use runtime::{CrashPoints, Probe};
use storage::{OpenError, Postgres, PostgresOptions, Sqlite, SqliteOptions};

use crate::{
    config::Store,
    ports::{CustomerRecords, Journal, Record},
    saga::State,
};
use postgres::PostgresJournal;
use sqlite::SqliteJournal;

/// A journal, the outbox that shares its commits, and whether both are there.
pub(crate) struct Opened {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) records: Arc<dyn CustomerRecords>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) probe: Probe,
}

/// Opens a store, and brings its schema up to date.
pub(crate) async fn open(store: &Store, crash: &CrashPoints) -> Result<Opened, OpenError> {
    match store {
        Store::Sqlite(path) => {
            let migrations = sqlite::MIGRATIONS;
            let db = Sqlite::open(SqliteOptions {
                path,
                migrations,
                crash,
            })
            .await?;
            Ok(Opened {
                journal: Arc::new(SqliteJournal::new(db.clone())),
                records: Arc::new(SqliteJournal::new(db.clone())),
                outbox: Arc::new(SqliteOutbox(db.clone())),
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
                crash,
            })
            .await?;
            Ok(Opened {
                journal: Arc::new(PostgresJournal::new(db.clone())),
                records: Arc::new(PostgresJournal::new(db.clone())),
                outbox: Arc::new(PostgresOutbox(db.clone())),
                probe: Probe::new("checkout-postgresql", move || {
                    let db = db.clone();
                    async move { db.is_up().await }
                }),
            })
        }
    }
}

/// Names the commit of a record by the state that it leads to. The intent to charge goes with the steps before it.
fn label(record: &Record) -> &'static str {
    match record.steps.last().map(|(state, ..)| state) {
        None => "checkout.retry",
        Some(State::Initiated) => "checkout.begin",
        Some(State::InventoryReserved | State::CartHeld | State::PaymentPending) => "checkout.reserved",
        Some(State::PaymentCompleted) => "checkout.paid",
        Some(State::Releasing(_)) => "checkout.releasing",
        Some(State::GivingBack(_)) => "checkout.giving_back",
        Some(State::Refunding(_)) => "checkout.refunding",
        Some(State::Completed) => "checkout.completed",
        Some(State::Failed(_)) => "checkout.failed",
    }
}
