//! Both stores, and sagas to put into them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use checkout::{
    domain::{CartRef, CheckoutId, Failure, Line, PaymentMethod, ProductId, Purchase},
    ports::CustomerRecords,
    saga::{CheckoutMachine, Data, State},
    store::{
        postgres::{self, PostgresRecords},
        sqlite::{self, SqliteRecords},
    },
};
use jiff::Timestamp;
use money::{Money, Quantity};
use proto::Reason;
use runtime::{Ids, Points};
use saga::{
    Begun, Claimed, Journal, Lease, Record, Saga, SagaId, State as _,
    journal::{postgres::PostgresJournal, sqlite::SqliteJournal},
};
use storage::{Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions};
use testing::{PostgresFixture, SqliteFixture};
use uuid::Uuid;

use crate::ledger::failure;

/// The tables of one place, by way of all that reads and writes them.
pub(super) struct Tables {
    pub(super) journal: Arc<dyn Journal<CheckoutMachine>>,
    pub(super) records: Arc<dyn CustomerRecords>,
}

/// How many migrations there were before carts had holds.
const BEFORE_HOLDS: usize = 2;

/// The tables at one place.
#[async_trait]
pub(super) trait Stores: Send + Sync {
    /// As a process that starts now opens them.
    async fn open(&self) -> Tables;
    /// As they were before carts had holds, if they are new.
    async fn open_before_holds(&self) -> Tables;
    /// Leaves a saga here as one that knew nothing of holds on carts has written it, with nobody to drive it.
    async fn leave_as_before(&self, old: &Old) -> CheckoutId;
}

/// A saga that was begun before carts had holds, from a cart of version 7.
#[derive(Debug, Clone, Copy)]
pub(super) struct Old {
    pub(super) user: &'static str,
    pub(super) key: &'static str,
    pub(super) state: &'static str,
    /// How long ago its last step was.
    pub(super) age: Duration,
}

impl Old {
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

    /// The statements of that time; `ago` is when its last step was, and `now` the time there.
    fn sql(&self, id: CheckoutId, now: &str, ago: &str) -> String {
        let Self { user, key, state, .. } = self;
        let failure = self.failure().map_or("NULL".to_owned(), |failure| {
            format!(r#"'{{"reason": "{}", "message": "m"}}'"#, failure.reason.as_str())
        });
        let status = match *state {
            "RELEASING" => "PAYMENT_PENDING",
            "REFUNDING" => "PAYMENT_COMPLETED",
            shown => shown,
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

    async fn leave_as_before(&self, old: &Old) -> CheckoutId {
        let id = CheckoutId(Ids::random().next());
        let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        let ago = format!("{now} - {}", old.age.as_millis());
        self.execute(FILE, &old.sql(id, now, &ago)).await;
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

    async fn leave_as_before(&self, old: &Old) -> CheckoutId {
        let id = CheckoutId(Ids::random().next());
        let ago = format!("now() - interval '{} seconds'", old.age.as_secs());
        self.execute(&old.sql(id, "now()", &ago)).await;
        id
    }
}

pub(super) const HOUR: Duration = Duration::from_hours(1);

/// A lease of an owner, which ends after this long.
pub(super) fn lease(owner: &str, ttl: Duration) -> Lease {
    Lease {
        owner: owner.to_owned(),
        ttl,
    }
}

/// What a saga may be begun with, from a cart of this version.
pub(super) fn data(version: i64) -> Data {
    let line = |product, quantity, price| Line {
        product: ProductId::new(product).unwrap(),
        name: format!("Ware {product}"),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: Money::usd(price),
    };
    let cart = CartRef {
        id: Some(Uuid::NAMESPACE_OID),
        version,
    };
    Data {
        method: PaymentMethod::new("pm_card_ok").unwrap(),
        purchase: Purchase::new(vec![line(1, 2, 1000), line(2, 1, 250)], cart).unwrap(),
        held: false,
        payment_id: None,
    }
}

/// A saga of this user that is about to begin.
pub(super) fn new(user: &str) -> Saga<CheckoutMachine> {
    let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    Saga {
        id: SagaId(Ids::random().next()),
        scope: user.to_owned(),
        fingerprint: "pm_card_ok:false".to_owned(),
        state: State::Initiated,
        data: data(7),
        created_at: now,
        updated_at: now,
        attempts: 0,
        needs_attention: false,
        version: 1,
        context: None,
    }
}

/// Begins a saga of this key, on a lease that ends after `ttl`.
pub(super) async fn begun(
    journal: &dyn Journal<CheckoutMachine>,
    key: &str,
    ttl: Duration,
) -> Claimed<CheckoutMachine> {
    let saga = new("user-1");
    match journal.begin(&saga, key, &lease("me", ttl)).await.unwrap() {
        Begun::Created(fence) => Claimed { saga, fence },
        other @ (Begun::Exists(_) | Begun::Refused) => panic!("{key}: {other:?}"),
    }
}

/// A record of these steps, of a saga that knows this.
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
