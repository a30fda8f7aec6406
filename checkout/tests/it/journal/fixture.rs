//! Both stores, and sagas of version 1 to put into them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use checkout::{
    domain::{CheckoutId, Failure},
    ports::CustomerRecords,
    saga::{CheckoutMachine, Data, State},
    store::{
        postgres::{self, PostgresRecords},
        sqlite::{self, SqliteRecords},
    },
};
use jiff::Timestamp;
use proto::Reason;
use runtime::{Ids, Points};
use saga::{
    Begun, Claimed, Journal, Record, State as _,
    journal::{postgres::PostgresJournal, sqlite::SqliteJournal},
};
use storage::{Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions};
use testing::{PostgresFixture, SqliteFixture};

use crate::{
    fake_peers::ledger::failure,
    sagas::{lease, new_saga},
};

/// The adapters over one store.
pub(super) struct Tables {
    pub(super) journal: Arc<dyn Journal<CheckoutMachine>>,
    pub(super) records: Arc<dyn CustomerRecords>,
}

/// The number of migrations from before carts had holds.
const BEFORE_HOLDS: usize = 2;

#[async_trait]
pub(super) trait Stores: Send + Sync {
    /// Opens the store with all migrations.
    async fn open(&self) -> Tables;
    /// Opens a new store with the migrations from before carts had holds.
    async fn open_before_holds(&self) -> Tables;
    /// Stores a saga as a process of version 1 wrote it, with an expired lease.
    async fn store_version_1(&self, saga: &Version1Saga) -> CheckoutId;
}

/// A saga of machine version 1, which had no holds, from a cart of version 7.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version1Saga {
    pub(super) user: &'static str,
    pub(super) key: &'static str,
    pub(super) state: &'static str,
    /// The time since its last step.
    pub(super) age: Duration,
}

impl Version1Saga {
    pub(super) const fn new(key: &'static str, state: &'static str) -> Self {
        Self {
            user: "user-1",
            key,
            state,
            age: Duration::from_mins(5),
        }
    }

    fn failure(&self) -> Option<Failure> {
        matches!(self.state, "RELEASING" | "REFUNDING" | "FAILED").then(|| failure(Reason::CardDeclined))
    }

    /// The statements of version 1. `now` and `ago` are SQL expressions: the current time, the time of the last step.
    fn insert(&self, id: CheckoutId, now: &str, ago: &str) -> String {
        let Self { user, key, state, .. } = self;
        let failure = self.failure().map_or("NULL".to_owned(), |failure| {
            format!(r#"'{{"reason": "{}", "message": "m"}}'"#, failure.reason.as_str())
        });
        let status = match *state {
            "RELEASING" => "PAYMENT_PENDING",
            "REFUNDING" => "PAYMENT_COMPLETED",
            status => status,
        };
        format!(
            "INSERT INTO checkouts (id, user_id, idempotency_key, fingerprint, state, status, failure, lines, total_minor,
                currency, payment_method, payment_id, cart_version, created_at, updated_at, version, owner, fence,
                lease_until, wake_at)
             VALUES ('{id}', '{user}', '{key}', 'pm_card_ok:false', '{state}', '{status}', {failure},
                '[{{\"product_id\": 1, \"name\": \"Ware\", \"quantity\": 2, \"unit_price\": 1000}}]', 2000, 'USD',
                'pm_card_ok', NULL, 7, {ago}, {ago}, 1, 'gone', 1, {now}, {now});
             INSERT INTO history (checkout_id, version, state, at, detail)
             VALUES ('{id}', 1, '{state}', {ago}, '')"
        )
    }
}

const FILE: &str = "checkout.db";

async fn in_file(fixture: &SqliteFixture, migrations: Migrations) -> Tables {
    let options = SqliteOptions {
        path: &fixture.file(FILE),
        migrations,
        points: &Points::none(),
    };
    let db = Sqlite::open(options).await.unwrap();
    Tables {
        journal: Arc::new(SqliteJournal::new(db.clone())),
        records: Arc::new(SqliteRecords(db)),
    }
}

#[async_trait]
impl Stores for SqliteFixture {
    async fn open(&self) -> Tables {
        in_file(self, sqlite::MIGRATIONS).await
    }

    async fn open_before_holds(&self) -> Tables {
        in_file(self, Migrations(&sqlite::MIGRATIONS.0[..BEFORE_HOLDS])).await
    }

    async fn store_version_1(&self, saga: &Version1Saga) -> CheckoutId {
        let id = CheckoutId(Ids::random().next());
        let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        let ago = format!("{now} - {}", saga.age.as_millis());
        self.execute(FILE, &saga.insert(id, now, &ago)).await;
        id
    }
}

async fn in_schema(fixture: &PostgresFixture, migrations: Migrations) -> Tables {
    let options = PostgresOptions {
        address: &fixture.address(),
        schema: &fixture.schema,
        migrations,
        points: &Points::none(),
    };
    let db = Postgres::open(options).await.unwrap();
    Tables {
        journal: Arc::new(PostgresJournal::new(db.clone())),
        records: Arc::new(PostgresRecords(db)),
    }
}

#[async_trait]
impl Stores for PostgresFixture {
    async fn open(&self) -> Tables {
        in_schema(self, postgres::MIGRATIONS).await
    }

    async fn open_before_holds(&self) -> Tables {
        in_schema(self, Migrations(&postgres::MIGRATIONS.0[..BEFORE_HOLDS])).await
    }

    async fn store_version_1(&self, saga: &Version1Saga) -> CheckoutId {
        let id = CheckoutId(Ids::random().next());
        let ago = format!("now() - interval '{} seconds'", saga.age.as_secs());
        self.execute(&saga.insert(id, "now()", &ago)).await;
        id
    }
}

/// Begins a saga of user-1 with this key and a lease of `ttl`.
pub(super) async fn begun(
    journal: &dyn Journal<CheckoutMachine>,
    key: &str,
    ttl: Duration,
) -> Claimed<CheckoutMachine> {
    let saga = new_saga("user-1");
    match journal.begin(&saga, key, &lease("me", ttl)).await.unwrap() {
        Begun::Created(fence) => Claimed { saga, fence },
        other @ (Begun::Exists(_) | Begun::Refused) => panic!("{key}: {other:?}"),
    }
}

/// A record of these steps, with this data.
pub(super) fn steps(data: Data, states: impl IntoIterator<Item = State>) -> Record<CheckoutMachine> {
    let now = Timestamp::from_millisecond(1_700_000_001_000).unwrap();
    let step = |state: State| {
        let detail = format!("now {}", state.name());
        (state, now, detail)
    };
    Record {
        steps: states.into_iter().map(step).collect(),
        ..Record::new(data)
    }
}
