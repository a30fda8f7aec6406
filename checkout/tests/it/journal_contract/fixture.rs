//! Journals to be tested, and sagas to put into them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use checkout::{
    domain::{Checkout, CheckoutId, IdempotencyKey, Line, PaymentMethod, ProductId, Purchase, Request, UserId},
    ports::{Begun, Claimed, Fence, Journal, Lease, Record},
    saga::State,
    store::sqlite::{MIGRATIONS, SqliteJournal},
};
use events::{Event, Outbox, SqliteOutbox};
use futures::FutureExt;
use jiff::Timestamp;
use money::{Money, Quantity};
use runtime::{CrashPoints, Ids, RequestContext};
use storage::{Sqlite, SqliteOptions};
use tempfile::TempDir;

use crate::memory::MemoryJournal;

/// A journal that can be closed and opened again, looked into and spoilt.
#[async_trait]
pub(super) trait Fixture: Sized + Send + Sync {
    async fn new() -> Self;
    fn journal(&self) -> Arc<dyn Journal>;
    async fn reopened(self) -> Self;
    /// The ids of the events in the outbox, in order.
    async fn outbox(&self) -> Vec<uuid::Uuid>;
    /// Makes a saga's row one that cannot be read.
    async fn spoil(&self, id: CheckoutId);
}

pub(super) struct SqliteFixture {
    db: Sqlite,
    folder: TempDir,
}

impl SqliteFixture {
    async fn on(folder: TempDir) -> Self {
        let path = folder.path().join("checkout.db");
        let options = SqliteOptions {
            path: &path,
            migrations: MIGRATIONS,
            crash: &CrashPoints::none(),
        };
        let db = Sqlite::open(options).await.unwrap();
        Self { db, folder }
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(SqliteJournal::new(self.db.clone()))
    }

    async fn reopened(self) -> Self {
        let Self { db, folder } = self;
        drop(db);
        Self::on(folder).await
    }

    async fn outbox(&self) -> Vec<uuid::Uuid> {
        let pending = SqliteOutbox(self.db.clone()).pending(1000).await.unwrap();
        let id = |message| Event::from_message(message).unwrap().id;
        pending.iter().map(|row| id(&row.message)).collect()
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
}

pub(super) struct MemoryFixture(MemoryJournal);

#[async_trait]
impl Fixture for MemoryFixture {
    async fn new() -> Self {
        Self(MemoryJournal::default())
    }

    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.0.clone())
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

pub(super) fn request(user: &str, key: &str) -> Request {
    Request {
        user: UserId(user.to_owned()),
        key: IdempotencyKey::new(key).unwrap(),
        method: PaymentMethod::new("pm_card_ok").unwrap(),
        accept_price_changes: false,
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
        purchase: Purchase::new(vec![line(1, 2, 1000), line(2, 1, 250)], 7).unwrap(),
        state: State::Initiated,
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
        Begun::Exists(known) => panic!("{key} is taken by {known:?}"),
    }
}

/// A record of these steps, a second apart.
pub(super) fn steps(states: impl IntoIterator<Item = State>) -> Record {
    let step = |(second, state): (i64, State)| {
        let detail = format!("now {}", state.name());
        (state, at(BEGAN + second * 1000), detail)
    };
    Record {
        steps: (1..).zip(states).map(step).collect(),
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
    let (checkout, _) = journal.get(claimed.checkout.id).await.unwrap().unwrap();
    assert_eq!(checkout.version, version);
    Claimed { checkout, ..claimed }
}

pub(super) fn older(fence: Fence) -> Fence {
    Fence(fence.0 - 1)
}

/// The states in a saga's history, oldest first.
pub(super) async fn history(journal: &dyn Journal, id: CheckoutId) -> Vec<String> {
    let (_, history) = journal.get(id).await.unwrap().unwrap();
    history.into_iter().map(|entry| entry.state).collect()
}
