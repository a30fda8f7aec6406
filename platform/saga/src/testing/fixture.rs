//! Journals to be tested, and sagas to put into them.

use std::{sync::Arc, time::Duration};

use events::{Event, Outbox, PostgresOutbox, SqliteOutbox};
use futures::FutureExt;
use jiff::Timestamp;
use runtime::{Ids, Points, RequestContext};
use sqlx::AssertSqlSafe;
use storage::{Migrations, Postgres, PostgresAddress, PostgresOptions, Sqlite, SqliteOptions};
use tempfile::TempDir;
use testing::Engine;
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

/// A journal that can be opened again, looked into and spoilt.
pub enum Fixture<M: Sample> {
    Sqlite {
        db: Sqlite,
        folder: TempDir,
    },
    /// A schema of its own.
    Postgres {
        db: Postgres,
        url: String,
        schema: String,
    },
    Memory(MemoryJournal<M>),
}

/// What a journal may be made of.
#[derive(Debug, Clone, Copy)]
pub enum Adapter {
    Sqlite,
    Postgres,
    Memory,
}

/// Opens a file of sagas.
pub async fn sqlite(folder: &TempDir, migrations: Migrations) -> Sqlite {
    let path = folder.path().join("sagas.db");
    let options = SqliteOptions {
        path: &path,
        migrations,
        points: &Points::none(),
    };
    Sqlite::open(options).await.unwrap()
}

/// Opens a schema of sagas.
pub async fn postgres(url: &str, schema: &str, migrations: Migrations) -> Postgres {
    let address = PostgresAddress::from_url(Engine::PostgreSql.variable(), url).unwrap();
    let options = PostgresOptions {
        address: &address,
        schema,
        migrations,
        points: &Points::none(),
    };
    Postgres::open(options).await.unwrap()
}

impl<M: Sample> Fixture<M> {
    /// `None` when its engine is not there, which has been said then.
    pub async fn new(adapter: Adapter) -> Option<Self> {
        Some(match adapter {
            Adapter::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let db = sqlite(&folder, M::SQLITE).await;
                Self::Sqlite { db, folder }
            }
            Adapter::Postgres => {
                let (url, schema) = (Engine::PostgreSql.address()?, testing::unique_name());
                let db = postgres(&url, &schema, M::POSTGRES).await;
                Self::Postgres { db, url, schema }
            }
            Adapter::Memory => Self::Memory(MemoryJournal::default()),
        })
    }

    pub fn journal(&self) -> Arc<dyn Journal<M>> {
        match self {
            Self::Sqlite { db, .. } => Arc::new(SqliteJournal::new(db.clone())),
            Self::Postgres { db, .. } => Arc::new(PostgresJournal::new(db.clone())),
            Self::Memory(journal) => Arc::new(journal.clone()),
        }
    }

    /// The same journal, as another process opens it.
    pub async fn replica(&self) -> Arc<dyn Journal<M>> {
        match self {
            Self::Sqlite { folder, .. } => Arc::new(SqliteJournal::new(sqlite(folder, M::SQLITE).await)),
            Self::Postgres { url, schema, .. } => {
                Arc::new(PostgresJournal::new(postgres(url, schema, M::POSTGRES).await))
            }
            Self::Memory(journal) => Arc::new(journal.clone()),
        }
    }

    #[must_use]
    pub async fn reopened(self) -> Self {
        match self {
            Self::Sqlite { db, folder } => {
                drop(db);
                let db = sqlite(&folder, M::SQLITE).await;
                Self::Sqlite { db, folder }
            }
            Self::Postgres { db, url, schema } => {
                drop(db);
                let db = postgres(&url, &schema, M::POSTGRES).await;
                Self::Postgres { db, url, schema }
            }
            memory @ Self::Memory(_) => memory,
        }
    }

    /// The ids of the events in the outbox, in order.
    pub async fn outbox(&self) -> Vec<Uuid> {
        let pending = match self {
            Self::Sqlite { db, .. } => SqliteOutbox(db.clone()).pending(1000, &[]).await,
            Self::Postgres { db, .. } => PostgresOutbox(db.clone()).pending(1000, &[]).await,
            Self::Memory(journal) => return journal.outbox().iter().map(|event| event.id).collect(),
        };
        let id = |message| Event::from_message(message).unwrap().id;
        pending.unwrap().iter().map(|row| id(&row.message)).collect()
    }

    /// Makes a saga's row one that cannot be read.
    pub async fn spoil(&self, id: SagaId) {
        let spoil = format!("UPDATE {} SET state = 'SPOILT' WHERE id = '{id}'", M::TABLE.name);
        self.execute(spoil).await;
        if let Self::Memory(journal) = self {
            journal.spoil(id);
        }
    }

    /// Runs statements in the database, if there is one.
    pub async fn execute(&self, sql: String) {
        match self {
            Self::Sqlite { db, .. } => {
                let written = db.write("test.execute", move |tx| {
                    async move {
                        sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx).await?;
                        Ok(())
                    }
                    .boxed()
                });
                written.await.unwrap();
            }
            Self::Postgres { url, schema, .. } => testing::postgres::execute(url, schema, &sql).await.unwrap(),
            Self::Memory(_) => {}
        }
    }
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
