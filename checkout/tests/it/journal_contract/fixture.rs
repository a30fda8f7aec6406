//! Journals to be tested, and sagas to put into them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use checkout::{
    domain::{
        CartRef, Checkout, CheckoutId, Entry, Failure, IdempotencyKey, Line, PaymentMethod, ProductId, Purchase,
        Request, UserId,
    },
    ports::{Begun, Claimed, Fence, Journal, Lease, Record},
    saga::State,
    store::{
        postgres::{self, PostgresJournal},
        sqlite::{self, SqliteJournal},
    },
};
use events::{Event, Outbox, PostgresOutbox, SqliteOutbox};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use money::{Money, Quantity};
use proto::Reason;
use runtime::{Clock, CrashPoints, Ids, RequestContext};
use storage::{Migrations, Postgres, PostgresAddress, PostgresOptions, Sqlite, SqliteOptions};
use tempfile::TempDir;
use testing::Engine;
use uuid::Uuid;

use crate::{ledger::failure, memory::MemoryJournal};

/// A journal that can be closed and opened again, looked into and spoilt.
#[async_trait]
pub(super) trait Fixture: Sized + Send + Sync {
    /// `None` when its engine is not there.
    async fn new() -> Option<Self>;
    /// One with the tables as they were before carts had holds, until it is reopened.
    async fn new_before() -> Option<Self>;
    fn journal(&self) -> Arc<dyn Journal>;
    /// The same journal, as another process opens it.
    async fn replica(&self) -> Arc<dyn Journal>;
    async fn reopened(self) -> Self;
    /// The ids of the events in the outbox, in order.
    async fn outbox(&self) -> Vec<uuid::Uuid>;
    /// Makes a saga's row one that cannot be read.
    async fn spoil(&self, id: CheckoutId);
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

pub(super) struct SqliteFixture {
    db: Sqlite,
    folder: TempDir,
}

impl SqliteFixture {
    async fn open(folder: &TempDir, migrations: Migrations) -> Sqlite {
        let path = folder.path().join("checkout.db");
        let options = SqliteOptions {
            path: &path,
            migrations,
            crash: &CrashPoints::none(),
        };
        Sqlite::open(options).await.unwrap()
    }

    async fn on(folder: TempDir) -> Self {
        let db = Self::open(&folder, sqlite::MIGRATIONS).await;
        Self { db, folder }
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn new() -> Option<Self> {
        Some(Self::on(tempfile::tempdir().unwrap()).await)
    }

    async fn new_before() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let db = Self::open(&folder, before(sqlite::MIGRATIONS)).await;
        Some(Self { db, folder })
    }

    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(SqliteJournal::new(self.db.clone()))
    }

    async fn replica(&self) -> Arc<dyn Journal> {
        Arc::new(SqliteJournal::new(Self::open(&self.folder, sqlite::MIGRATIONS).await))
    }

    async fn reopened(self) -> Self {
        let Self { db, folder } = self;
        drop(db);
        Self::on(folder).await
    }

    async fn outbox(&self) -> Vec<uuid::Uuid> {
        pending(&SqliteOutbox(self.db.clone())).await
    }

    async fn spoil(&self, id: CheckoutId) {
        let spoil = self.db.write("test.spoil", move |tx| {
            async move {
                sqlx::query("UPDATE checkouts SET lines = 'no JSON' WHERE id = ?")
                    .bind(id.to_string())
                    .execute(tx)
                    .await?;
                Ok(())
            }
            .boxed()
        });
        spoil.await.unwrap();
    }

    async fn leave_as_before(&self, old: &Old) -> CheckoutId {
        let id = CheckoutId(Ids::random().next());
        let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        let sql = old.sql(id, now, &format!("{now} - {}", old.age.as_millis()));
        let leave = self.db.write("test.leave", move |tx| {
            async move {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(tx).await?;
                Ok(())
            }
            .boxed()
        });
        leave.await.unwrap();
        id
    }
}

/// A schema of its own.
pub(super) struct PostgresFixture {
    db: Postgres,
    pub(super) url: String,
    pub(super) schema: String,
}

impl PostgresFixture {
    async fn open(url: &str, schema: &str, migrations: Migrations) -> Postgres {
        let address = PostgresAddress::from_url(Engine::PostgreSql.variable(), url).unwrap();
        let options = PostgresOptions {
            address: &address,
            schema,
            migrations,
            crash: &CrashPoints::none(),
        };
        Postgres::open(options).await.unwrap()
    }

    async fn on(url: String, schema: String) -> Self {
        let db = Self::open(&url, &schema, postgres::MIGRATIONS).await;
        Self { db, url, schema }
    }
}

#[async_trait]
impl Fixture for PostgresFixture {
    async fn new() -> Option<Self> {
        Some(Self::on(Engine::PostgreSql.address()?, testing::unique_name()).await)
    }

    async fn new_before() -> Option<Self> {
        let (url, schema) = (Engine::PostgreSql.address()?, testing::unique_name());
        let db = Self::open(&url, &schema, before(postgres::MIGRATIONS)).await;
        Some(Self { db, url, schema })
    }

    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(PostgresJournal::new(self.db.clone()))
    }

    async fn replica(&self) -> Arc<dyn Journal> {
        Arc::new(PostgresJournal::new(
            Self::open(&self.url, &self.schema, postgres::MIGRATIONS).await,
        ))
    }

    async fn reopened(self) -> Self {
        let Self { db, url, schema } = self;
        drop(db);
        Self::on(url, schema).await
    }

    async fn outbox(&self) -> Vec<uuid::Uuid> {
        pending(&PostgresOutbox(self.db.clone())).await
    }

    async fn spoil(&self, id: CheckoutId) {
        let spoil = format!("UPDATE checkouts SET lines = '\"no lines\"' WHERE id = '{id}'");
        testing::postgres::execute(&self.url, &self.schema, &spoil)
            .await
            .unwrap();
    }

    async fn leave_as_before(&self, old: &Old) -> CheckoutId {
        let id = CheckoutId(Ids::random().next());
        let ago = format!("now() - interval '{} seconds'", old.age.as_secs());
        let sql = old.sql(id, "now()", &ago);
        testing::postgres::execute(&self.url, &self.schema, &sql).await.unwrap();
        id
    }
}

pub(super) struct MemoryFixture(MemoryJournal);

#[async_trait]
impl Fixture for MemoryFixture {
    async fn new() -> Option<Self> {
        Some(Self(MemoryJournal::default()))
    }

    async fn new_before() -> Option<Self> {
        Self::new().await
    }

    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.0.clone())
    }

    async fn replica(&self) -> Arc<dyn Journal> {
        self.journal()
    }

    async fn reopened(self) -> Self {
        self
    }

    async fn outbox(&self) -> Vec<uuid::Uuid> {
        self.0.outbox().iter().map(|event| event.id).collect()
    }

    async fn spoil(&self, id: CheckoutId) {
        self.0.spoil(id);
    }

    async fn leave_as_before(&self, old: &Old) -> CheckoutId {
        let request = request(old.user, old.key);
        let ago = Clock::system().now() - SignedDuration::try_from(old.age).unwrap();
        let new = checkout(&request);
        let id = new.id;
        let entry = Entry {
            state: old.state.to_owned(),
            at: ago,
            detail: String::new(),
        };
        let left = Checkout {
            purchase: Purchase {
                cart: CartRef { id: None, ..CART },
                ..new.purchase
            },
            state: State::from_parts(old.state, old.failure()).unwrap(),
            created_at: ago,
            updated_at: ago,
            ..new
        };
        self.0.put(left, request.key, vec![entry]);
        id
    }
}

/// The migrations that there were before carts had holds.
fn before(all: Migrations) -> Migrations {
    Migrations(&all.0[..2])
}

/// The ids of the events that wait.
async fn pending(outbox: &dyn Outbox) -> Vec<uuid::Uuid> {
    let id = |message| Event::from_message(message).unwrap().id;
    let pending = outbox.pending(1000).await.unwrap();
    pending.iter().map(|row| id(&row.message)).collect()
}

pub(super) const HOUR: Duration = Duration::from_hours(1);

/// A lease of an owner, which ends after this long.
pub(super) fn lease(owner: &str, ttl: Duration) -> Lease {
    Lease {
        owner: owner.to_owned(),
        ttl,
    }
}

pub(super) fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

pub(super) const BEGAN: i64 = 1_700_000_000_123;

pub(super) const CART: CartRef = CartRef {
    id: Some(Uuid::NAMESPACE_OID),
    version: 7,
};

pub(super) fn request(user: &str, key: &str) -> Request {
    Request {
        user: UserId(user.to_owned()),
        key: IdempotencyKey::new(key).unwrap(),
        method: PaymentMethod::new("pm_card_ok").unwrap(),
        accept_price_changes: false,
        expected_total: None,
        cart_version: None,
    }
}

pub(super) fn checkout(request: &Request) -> Checkout {
    let line = |product, quantity, price| Line {
        product: ProductId(product),
        name: format!("Ware \"{product}\" ü"),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: Money::usd(price),
    };
    Checkout {
        id: CheckoutId(Ids::random().next()),
        user: request.user.clone(),
        fingerprint: request.fingerprint(),
        method: request.method.clone(),
        purchase: Purchase::new(vec![line(1, 2, 1000), line(2, 1, 250)], CART).unwrap(),
        state: State::Initiated,
        held: false,
        payment_id: None,
        created_at: at(BEGAN),
        updated_at: at(BEGAN),
        attempts: 0,
        needs_attention: false,
        version: 1,
    }
}

/// Begins a saga of this key, on a lease that ends after `ttl`.
pub(super) async fn begun(journal: &dyn Journal, key: &str, ttl: Duration) -> Claimed {
    let request = request("user-1", key);
    let checkout = checkout(&request);
    match journal.begin(&checkout, &request, &lease("me", ttl)).await.unwrap() {
        Begun::Created(fence) => Claimed { checkout, fence },
        other @ (Begun::Exists(_) | Begun::Unheld { .. }) => panic!("{key}: {other:?}"),
    }
}

/// A record of these steps, a second apart. Those that only follow a hold on the cart come with one.
pub(super) fn steps(states: impl IntoIterator<Item = State>) -> Record {
    let states: Vec<_> = states.into_iter().collect();
    let is_past_the_hold = |state: &State| match state {
        State::CartHeld
        | State::PaymentPending
        | State::PaymentCompleted
        | State::GivingBack(_)
        | State::Refunding(_)
        | State::Completed => true,
        State::Initiated | State::InventoryReserved | State::Releasing(_) | State::Failed(_) => false,
    };
    let held = states.iter().any(is_past_the_hold);
    let step = |(second, state): (i64, State)| {
        let detail = format!("now {}", state.name());
        (state, at(BEGAN + second * 1000), detail)
    };
    Record {
        steps: (1..).zip(states).map(step).collect(),
        held,
        ..Record::default()
    }
}

pub(super) fn event(claimed: &Claimed) -> Event {
    let ids = Ids::random();
    Event {
        id: ids.next(),
        kind: "test.ended.v1".to_owned(),
        name: "Ended".to_owned(),
        source: "/checkout".to_owned(),
        time: at(BEGAN),
        key: claimed.checkout.id.to_string(),
        context: RequestContext::new(&ids),
        data: b"{}".as_slice().into(),
    }
}

/// The saga as a driver has it after it wrote this down.
pub(super) async fn driven(journal: &dyn Journal, claimed: Claimed, record: &Record) -> Claimed {
    let version = journal.record(&claimed, record, &lease("me", HOUR)).await.unwrap();
    let (checkout, _) = journal.get(claimed.checkout.id, None).await.unwrap().unwrap();
    assert_eq!(checkout.version, version);
    Claimed { checkout, ..claimed }
}

pub(super) fn older(fence: Fence) -> Fence {
    Fence(fence.0 - 1)
}

/// The states in a saga's history, oldest first.
pub(super) async fn history(journal: &dyn Journal, id: CheckoutId) -> Vec<String> {
    let (_, history) = journal.get(id, None).await.unwrap().unwrap();
    history.into_iter().map(|entry| entry.state).collect()
}
