//! Journals to be tested, and sagas to put into them.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use events::{Event, Outbox, PostgresOutbox, SqliteOutbox};
use jiff::Timestamp;
use runtime::{Ids, Points, RequestContext};
use storage::{Postgres, PostgresOptions, Sqlite, SqliteOptions};
use testing::{Fixture, MemoryFixture, PostgresFixture, SqliteFixture};
use uuid::Uuid;

use super::Sample;
use crate::{
    journal::{
        Begun, Claimed, Journal, Lease, Record, Retry, Then, memory::MemoryJournal, postgres::PostgresJournal,
        sqlite::SqliteJournal,
    },
    machine::{Machine, State},
    saga::{Fence, Saga, SagaId},
};

/// Journals of a machine's sagas at one place, to be opened, looked into and spoilt.
#[async_trait]
pub trait Journals<M: Sample>: Send + Sync {
    /// The journal, as a process that starts now opens it.
    async fn open(&self) -> Arc<dyn Journal<M>>;

    /// The ids of the events in the outbox, in order.
    async fn outbox(&self) -> Vec<Uuid>;

    /// Makes a saga's row one that cannot be read.
    async fn spoil(&self, id: SagaId);
}

/// A place for the sagas of a machine.
pub struct At<M, P> {
    place: P,
    machine: PhantomData<fn() -> M>,
}

pub type InFile<M> = At<M, SqliteFixture>;
pub type InSchema<M> = At<M, PostgresFixture>;
pub type InMemory<M> = At<M, MemoryFixture<MemoryJournal<M>>>;

impl<M, P: Fixture> Fixture for At<M, P> {
    fn new() -> Option<Self> {
        Some(Self {
            place: P::new()?,
            machine: PhantomData,
        })
    }

    async fn close(self) {
        self.place.close().await;
    }
}

const FILE: &str = "sagas.db";

impl<M: Sample> InFile<M> {
    async fn db(&self) -> Sqlite {
        let options = SqliteOptions {
            path: &self.place.file(FILE),
            migrations: M::SQLITE,
            points: &Points::none(),
        };
        Sqlite::open(options).await.unwrap()
    }
}

#[async_trait]
impl<M: Sample> Journals<M> for InFile<M> {
    async fn open(&self) -> Arc<dyn Journal<M>> {
        Arc::new(SqliteJournal::new(self.db().await))
    }

    async fn outbox(&self) -> Vec<Uuid> {
        pending(&SqliteOutbox(self.db().await)).await
    }

    async fn spoil(&self, id: SagaId) {
        self.place.execute(FILE, &spoils::<M>(id)).await;
    }
}

impl<M: Sample> InSchema<M> {
    async fn db(&self) -> Postgres {
        let options = PostgresOptions {
            address: &self.place.address(),
            schema: &self.place.schema,
            migrations: M::POSTGRES,
            points: &Points::none(),
        };
        Postgres::open(options).await.unwrap()
    }
}

#[async_trait]
impl<M: Sample> Journals<M> for InSchema<M> {
    async fn open(&self) -> Arc<dyn Journal<M>> {
        Arc::new(PostgresJournal::new(self.db().await))
    }

    async fn outbox(&self) -> Vec<Uuid> {
        pending(&PostgresOutbox(self.db().await)).await
    }

    async fn spoil(&self, id: SagaId) {
        self.place.execute(&spoils::<M>(id)).await;
    }
}

#[async_trait]
impl<M: Sample> Journals<M> for InMemory<M> {
    async fn open(&self) -> Arc<dyn Journal<M>> {
        Arc::new(self.place.0.clone())
    }

    async fn outbox(&self) -> Vec<Uuid> {
        self.place.0.outbox().iter().map(|event| event.id).collect()
    }

    async fn spoil(&self, id: SagaId) {
        self.place.0.spoil(id);
    }
}

async fn pending(outbox: &dyn Outbox) -> Vec<Uuid> {
    let id = |message| Event::from_message(message).unwrap().id;
    let pending = outbox.pending(1000, &[]).await.unwrap();
    pending.iter().map(|row| id(&row.message)).collect()
}

fn spoils<M: Sample>(id: SagaId) -> String {
    format!("UPDATE {} SET state = 'SPOILT' WHERE id = '{id}'", M::TABLE.name)
}

pub const HOUR: Duration = Duration::from_hours(1);
pub const NO_TIME: Duration = Duration::ZERO;
/// When sagas begin here, in milliseconds since 1970.
pub const BEGAN: i64 = 1_700_000_000_123;

/// A lease of an owner, which ends after this long.
pub fn lease(owner: &str, ttl: Duration) -> Lease {
    Lease {
        owner: owner.to_owned(),
        ttl,
    }
}

pub fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

/// A saga of this scope that is about to begin.
pub fn new<M: Sample>(scope: &str) -> Saga<M> {
    let ids = Ids::random();
    Saga {
        id: SagaId(ids.next()),
        scope: scope.to_owned(),
        fingerprint: "what the key stands for".to_owned(),
        state: M::way().remove(0),
        data: M::data(1),
        created_at: at(BEGAN),
        updated_at: at(BEGAN),
        attempts: 0,
        needs_attention: false,
        version: 1,
        context: Some(RequestContext::new(&ids)),
    }
}

/// Begins a saga of this key, on a lease that ends after `ttl`.
pub async fn begun<M: Sample>(journal: &dyn Journal<M>, key: &str, ttl: Duration) -> Claimed<M> {
    let saga = new("user-1");
    match journal.begin(&saga, key, &lease("me", ttl)).await.unwrap() {
        Begun::Created(fence) => Claimed { saga, fence },
        other @ (Begun::Exists(_) | Begun::Refused) => panic!("{key}: {other:?}"),
    }
}

/// A record of these steps, a second apart.
pub fn steps<M: Sample>(states: impl IntoIterator<Item = M::State>) -> Record<M> {
    let step = |(second, state): (i64, M::State)| {
        let detail = format!("now {}", state.name());
        (state, at(BEGAN + second * 1000), detail)
    };
    let steps: Vec<_> = (1..).zip(states).map(step).collect();
    let learned = |data, (state, ..): &(M::State, Timestamp, String)| M::after(data, state);
    let data = steps.iter().fold(M::data(1), learned);
    Record {
        steps,
        ..Record::new(data)
    }
}

/// A record of an attempt without a known outcome.
pub fn retry<M: Sample>(after: Duration, attempts: u32, needs_attention: bool) -> Record<M> {
    Record {
        then: Then::Retry(Retry {
            after,
            attempts,
            needs_attention,
        }),
        ..Record::new(M::data(1))
    }
}

/// An event that tells of a saga.
pub fn event<M: Machine>(saga: &Saga<M>) -> Event {
    let ids = Ids::random();
    Event {
        id: ids.next(),
        kind: "test.ended.v1".to_owned(),
        name: "Ended".to_owned(),
        source: "/test".to_owned(),
        time: at(BEGAN),
        key: saga.id.to_string(),
        context: RequestContext::new(&ids),
        data: b"{}".as_slice().into(),
    }
}

/// The saga as a driver has it after it persisted this.
pub async fn driven<M: Sample>(journal: &dyn Journal<M>, claimed: Claimed<M>, record: &Record<M>) -> Claimed<M> {
    let version = journal.record(&claimed, record, &lease("me", HOUR)).await.unwrap();
    let (saga, _) = journal.get(claimed.saga.id, None).await.unwrap().unwrap();
    assert_eq!((saga.version, &saga.data), (version, &record.data));
    Claimed { saga, ..claimed }
}

pub fn older(fence: Fence) -> Fence {
    Fence(fence.0 - 1)
}

/// The states in a saga's history, oldest first.
pub async fn history<M: Machine>(journal: &dyn Journal<M>, id: SagaId) -> Vec<String> {
    let (_, history) = journal.get(id, None).await.unwrap().unwrap();
    history.into_iter().map(|entry| entry.state).collect()
}

/// The last of a machine's states that is not an end.
pub fn last_but_ends<M: Sample>(states: Vec<M::State>) -> M::State {
    let mut unfinished = states
        .into_iter()
        .filter(|state| !M::TABLE.ends.contains(&state.name()));
    unfinished.next_back().unwrap()
}

/// An end without success.
pub fn bad_end<M: Sample>() -> M::State {
    M::aside().pop().unwrap()
}

/// The end of one that goes well.
pub fn good_end<M: Sample>() -> M::State {
    M::way().pop().unwrap()
}

/// The state behind the first one.
pub fn second<M: Sample>() -> M::State {
    M::way().swap_remove(1)
}
