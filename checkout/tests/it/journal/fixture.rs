//! Both stores, and sagas to put into them.

use std::{sync::Arc, time::Duration};

use checkout::{
    domain::{CartRef, CheckoutId, Failure, Line, PaymentMethod, ProductId, Purchase},
    ports::CustomerRecords,
    saga::{CheckoutMachine, Data, State},
    store::{
        postgres::{self, PostgresRecords},
        sqlite::{self, SqliteRecords},
    },
};
use futures::FutureExt;
use jiff::Timestamp;
use money::{Money, Quantity};
use proto::Reason;
use runtime::{Ids, Points};
use saga::{
    Begun, Claimed, Journal, Lease, Record, Saga, SagaId, State as _,
    journal::{postgres::PostgresJournal, sqlite::SqliteJournal},
};
use storage::{Migrations, Postgres, PostgresAddress, PostgresOptions, Sqlite, SqliteOptions};
use tempfile::TempDir;
use testing::Engine;
use uuid::Uuid;

use crate::ledger::failure;

/// The tables, by way of all that reads and writes them.
pub(super) struct Fixture {
    pub(super) journal: Arc<dyn Journal<CheckoutMachine>>,
    pub(super) records: Arc<dyn CustomerRecords>,
    pub(super) place: Place,
}

/// Where they are.
pub(super) enum Place {
    Sqlite {
        db: Sqlite,
        folder: TempDir,
    },
    /// A schema of its own.
    Postgres {
        url: String,
        schema: String,
    },
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

impl Fixture {
    pub(super) async fn sqlite() -> Option<Self> {
        Some(Self::in_file(tempfile::tempdir().unwrap(), sqlite::MIGRATIONS).await)
    }

    /// `None` when the engine is not there.
    pub(super) async fn postgres() -> Option<Self> {
        let (url, schema) = (Engine::PostgreSql.address()?, testing::unique_name());
        Some(Self::in_schema(url, schema, postgres::MIGRATIONS).await)
    }

    async fn in_file(folder: TempDir, migrations: Migrations) -> Self {
        let path = folder.path().join("checkout.db");
        let options = SqliteOptions {
            path: &path,
            migrations,
            points: &Points::none(),
        };
        let db = Sqlite::open(options).await.unwrap();
        Self {
            journal: Arc::new(SqliteJournal::new(db.clone())),
            records: Arc::new(SqliteRecords(db.clone())),
            place: Place::Sqlite { db, folder },
        }
    }

    async fn in_schema(url: String, schema: String, migrations: Migrations) -> Self {
        let address = PostgresAddress::from_url(Engine::PostgreSql.variable(), &url).unwrap();
        let options = PostgresOptions {
            address: &address,
            schema: &schema,
            migrations,
            points: &Points::none(),
        };
        let db = Postgres::open(options).await.unwrap();
        Self {
            journal: Arc::new(PostgresJournal::new(db.clone())),
            records: Arc::new(PostgresRecords(db)),
            place: Place::Postgres { url, schema },
        }
    }

    /// The same engine with new tables, as they were before carts had holds, until it is reopened.
    pub(super) async fn of_before(&self) -> Self {
        let before = |all: Migrations| Migrations(&all.0[..2]);
        match &self.place {
            Place::Sqlite { .. } => Self::in_file(tempfile::tempdir().unwrap(), before(sqlite::MIGRATIONS)).await,
            Place::Postgres { url, .. } => {
                Self::in_schema(url.clone(), testing::unique_name(), before(postgres::MIGRATIONS)).await
            }
        }
    }

    pub(super) async fn reopened(self) -> Self {
        let Self {
            journal,
            records,
            place,
        } = self;
        drop((journal, records));
        match place {
            Place::Sqlite { db, folder } => {
                drop(db);
                Self::in_file(folder, sqlite::MIGRATIONS).await
            }
            Place::Postgres { url, schema } => Self::in_schema(url, schema, postgres::MIGRATIONS).await,
        }
    }

    /// Leaves a saga here as one that knew nothing of holds on carts has written it, with nobody to drive it.
    pub(super) async fn leave_as_before(&self, old: &Old) -> CheckoutId {
        let id = CheckoutId(Ids::random().next());
        match &self.place {
            Place::Sqlite { db, .. } => {
                let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
                let sql = old.sql(id, now, &format!("{now} - {}", old.age.as_millis()));
                let leave = db.write("test.leave", move |tx| {
                    async move {
                        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(tx).await?;
                        Ok(())
                    }
                    .boxed()
                });
                leave.await.unwrap();
            }
            Place::Postgres { url, schema } => {
                let ago = format!("now() - interval '{} seconds'", old.age.as_secs());
                let sql = old.sql(id, "now()", &ago);
                testing::postgres::execute(url, schema, &sql).await.unwrap();
            }
        }
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
        product: ProductId(product),
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
