//! Journals under test on each database, and sagas to put into them.

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
        Begun, Claimed, Continuation, Journal, Lease, Record, Retry, memory::MemoryJournal, postgres::PostgresJournal,
        sqlite::SqliteJournal,
    },
    machine::{Machine, State},
    saga::{Fence, Saga, SagaId},
};

/// One database with the journal of a machine.
#[async_trait]
pub trait Journals<M: Sample>: Send + Sync {
    /// Opens the journal as another process would.
    async fn open(&self) -> Arc<dyn Journal<M>>;

    /// The ids of the events in the outbox, in order.
    async fn outbox(&self) -> Vec<Uuid>;

    /// Makes the row of a saga unreadable.
    async fn corrupt(&self, id: SagaId);

    /// Makes a saga one of a later version of the machine.
    async fn raise_version(&self, id: SagaId);
}

/// A fixture of a database, for the sagas of a machine.
pub struct JournalFixture<M, F> {
    fixture: F,
    machine: PhantomData<fn() -> M>,
}

pub type SqliteJournals<M> = JournalFixture<M, SqliteFixture>;
pub type PostgresJournals<M> = JournalFixture<M, PostgresFixture>;
pub type MemoryJournals<M> = JournalFixture<M, MemoryFixture<MemoryJournal<M>>>;

impl<M, F: Fixture> Fixture for JournalFixture<M, F> {
    fn new() -> Option<Self> {
        Some(Self {
            fixture: F::new()?,
            machine: PhantomData,
        })
    }

    async fn close(self) {
        self.fixture.close().await;
    }
}

const FILE: &str = "sagas.db";

impl<M: Sample> SqliteJournals<M> {
    async fn db(&self) -> Sqlite {
        let options = SqliteOptions {
            path: &self.fixture.file(FILE),
            migrations: M::SQLITE,
            points: &Points::none(),
        };
        Sqlite::open(options).await.unwrap()
    }
}

#[async_trait]
impl<M: Sample> Journals<M> for SqliteJournals<M> {
    async fn open(&self) -> Arc<dyn Journal<M>> {
        Arc::new(SqliteJournal::new(self.db().await))
    }

    async fn outbox(&self) -> Vec<Uuid> {
        pending(&SqliteOutbox(self.db().await)).await
    }

    async fn corrupt(&self, id: SagaId) {
        self.fixture.execute(FILE, &corrupting_sql::<M>(id)).await;
    }

    async fn raise_version(&self, id: SagaId) {
        self.fixture.execute(FILE, &raising_sql::<M>(id)).await;
    }
}

impl<M: Sample> PostgresJournals<M> {
    async fn db(&self) -> Postgres {
        let options = PostgresOptions {
            address: &self.fixture.address(),
            schema: &self.fixture.schema,
            migrations: M::POSTGRES,
            points: &Points::none(),
        };
        Postgres::open(options).await.unwrap()
    }
}

#[async_trait]
impl<M: Sample> Journals<M> for PostgresJournals<M> {
    async fn open(&self) -> Arc<dyn Journal<M>> {
        Arc::new(PostgresJournal::new(self.db().await))
    }

    async fn outbox(&self) -> Vec<Uuid> {
        pending(&PostgresOutbox(self.db().await)).await
    }

    async fn corrupt(&self, id: SagaId) {
        self.fixture.execute(&corrupting_sql::<M>(id)).await;
    }

    async fn raise_version(&self, id: SagaId) {
        self.fixture.execute(&raising_sql::<M>(id)).await;
    }
}

#[async_trait]
impl<M: Sample> Journals<M> for MemoryJournals<M> {
    async fn open(&self) -> Arc<dyn Journal<M>> {
        Arc::new(self.fixture.0.clone())
    }

    async fn outbox(&self) -> Vec<Uuid> {
        self.fixture.0.outbox().iter().map(|event| event.id).collect()
    }

    async fn corrupt(&self, id: SagaId) {
        self.fixture.0.corrupt(id);
    }

    async fn raise_version(&self, id: SagaId) {
        self.fixture.0.raise_version(id);
    }
}

async fn pending(outbox: &dyn Outbox) -> Vec<Uuid> {
    let id = |message| Event::from_message(message).unwrap().id;
    let pending = outbox.pending(1000, &[]).await.unwrap();
    pending.iter().map(|row| id(&row.message)).collect()
}

fn corrupting_sql<M: Sample>(id: SagaId) -> String {
    format!("UPDATE {} SET state = 'CORRUPT' WHERE id = '{id}'", M::TABLE.name)
}

fn raising_sql<M: Sample>(id: SagaId) -> String {
    format!(
        "UPDATE {} SET machine = {} WHERE id = '{id}'",
        M::TABLE.name,
        M::VERSION + 1
    )
}

pub const HOUR: Duration = Duration::from_hours(1);
pub const NO_TIME: Duration = Duration::ZERO;
/// When the sagas of these tests begin, in milliseconds since 1970.
pub const BEGAN: i64 = 1_700_000_000_123;

pub fn lease(owner: &str, ttl: Duration) -> Lease {
    Lease {
        owner: owner.to_owned(),
        ttl,
    }
}

pub fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

/// A new saga of this scope, not stored yet.
pub fn new<M: Sample>(scope: &str) -> Saga<M> {
    let ids = Ids::random();
    Saga {
        id: SagaId(ids.next()),
        scope: scope.to_owned(),
        fingerprint: "what the key stands for".to_owned(),
        state: M::happy_path().remove(0),
        data: M::data(1),
        created_at: at(BEGAN),
        updated_at: at(BEGAN),
        attempts: 0,
        needs_attention: false,
        version: 1,
        context: Some(RequestContext::new(&ids)),
    }
}

/// Begins a saga with this key, leased to the owner `me`.
pub async fn begun<M: Sample>(journal: &dyn Journal<M>, key: &str, ttl: Duration) -> Claimed<M> {
    let saga = new("user-1");
    match journal.begin(&saga, key, &lease("me", ttl)).await.unwrap() {
        Begun::Created(fence) => Claimed { saga, fence },
        other @ (Begun::Exists(_) | Begun::Refused) => panic!("{key}: {other:?}"),
    }
}

/// A record of these steps, one second apart.
pub fn steps<M: Sample>(states: impl IntoIterator<Item = M::State>) -> Record<M> {
    let step = |(second, state): (i64, M::State)| {
        let detail = format!("now {}", state.name());
        (state, at(BEGAN + second * 1000), detail)
    };
    let steps: Vec<_> = (1..).zip(states).map(step).collect();
    let learned = |data, (state, ..): &(M::State, Timestamp, String)| M::data_in(data, state);
    let data = steps.iter().fold(M::data(1), learned);
    Record {
        steps,
        ..Record::new(data)
    }
}

/// A record of an attempt without a known outcome.
pub fn retry<M: Sample>(after: Duration, attempts: u32, needs_attention: bool) -> Record<M> {
    Record {
        continuation: Continuation::Retry(Retry {
            after,
            attempts,
            needs_attention,
        }),
        ..Record::new(M::data(1))
    }
}

/// An event about a saga.
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

/// Persists a record; returns the saga as its driver then has it.
pub async fn driven<M: Sample>(journal: &dyn Journal<M>, claimed: Claimed<M>, record: &Record<M>) -> Claimed<M> {
    let version = journal.record(&claimed, record, &lease("me", HOUR)).await.unwrap();
    let (saga, _) = journal.get(claimed.saga.id, None).await.unwrap().unwrap();
    assert_eq!((saga.version, &saga.data), (version, &record.data));
    if let Some((state, at, _)) = record.steps.last() {
        assert_eq!((&saga.state, saga.updated_at), (state, *at));
    }
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

/// The last of these states that is not final.
pub fn last_unfinished<M: Sample>(states: Vec<M::State>) -> M::State {
    let mut unfinished = states
        .into_iter()
        .filter(|state| !M::TABLE.final_states.contains(&state.name()));
    unfinished.next_back().unwrap()
}

/// A final state without success.
pub fn bad_end<M: Sample>() -> M::State {
    M::other_states().pop().unwrap()
}

/// The final state of a saga that succeeds.
pub fn good_end<M: Sample>() -> M::State {
    M::happy_path().pop().unwrap()
}

/// The second state of a saga that succeeds.
pub fn second<M: Sample>() -> M::State {
    M::happy_path().swap_remove(1)
}
