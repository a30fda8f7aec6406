//! Rows of the service that change in the transactions of its sagas: a traveller's budget.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use runtime::Points;
use saga::{
    Begun, Journal, Record, Saga, ServiceRows, State as _,
    journal::{postgres::PostgresJournal, sqlite::SqliteJournal},
    testing::{
        Sample,
        fixture::{HOUR, begun, lease, new, older, steps},
    },
};
use storage::{Postgres, PostgresOptions, Sqlite, SqliteOptions, StoreError, Transaction};
use testing::{PostgresFixture, SqliteFixture};

use crate::toy::TripMachine;

/// Two trips a traveller. A trip that is cancelled gives its part of the budget back.
struct Budget;

const OPEN: &str = "INSERT INTO budgets (traveller, trips) VALUES ('user-1', 0) ON CONFLICT (traveller) DO NOTHING";
const TAKE: &str = "UPDATE budgets SET trips = trips + 1 WHERE traveller = 'user-1' AND trips < 2";
const GIVE_BACK: &str = "UPDATE budgets SET trips = trips - 1 WHERE traveller = 'user-1'";

async fn execute(tx: &mut Transaction<'_>, sql: &'static str) -> Result<u64, StoreError> {
    Ok(match tx {
        Transaction::Sqlite(tx) => sqlx::query(sql).execute(&mut **tx).await?.rows_affected(),
        Transaction::Postgres(tx) => sqlx::query(sql).execute(&mut **tx).await?.rows_affected(),
    })
}

#[async_trait]
impl ServiceRows<TripMachine> for Budget {
    async fn begin(&self, mut tx: Transaction<'_>, _: &Saga<TripMachine>) -> Result<bool, StoreError> {
        execute(&mut tx, OPEN).await?;
        Ok(execute(&mut tx, TAKE).await? == 1)
    }

    async fn record(
        &self,
        mut tx: Transaction<'_>,
        _: &Saga<TripMachine>,
        record: &Record<TripMachine>,
    ) -> Result<(), StoreError> {
        if record.steps.iter().any(|(state, ..)| state.name() == "CANCELLED") {
            execute(&mut tx, GIVE_BACK).await?;
        }
        Ok(())
    }
}

/// A database with the journal of trips and the budgets.
#[async_trait]
trait Database: Send + Sync {
    async fn journal(&self) -> Arc<dyn Journal<TripMachine>>;
    async fn trips(&self) -> i64;
}

const TRIPS: &str = "SELECT trips FROM budgets";

#[async_trait]
impl Database for SqliteFixture {
    async fn journal(&self) -> Arc<dyn Journal<TripMachine>> {
        let options = SqliteOptions {
            path: &self.file("sagas.db"),
            migrations: TripMachine::SQLITE,
            points: &Points::none(),
        };
        let db = Sqlite::open(options).await.unwrap();
        Arc::new(SqliteJournal::new(db).with_service_rows(Arc::new(Budget)))
    }

    async fn trips(&self) -> i64 {
        let mut connection = self.connect("sagas.db").await;
        sqlx::query_scalar(TRIPS).fetch_one(&mut connection).await.unwrap()
    }
}

#[async_trait]
impl Database for PostgresFixture {
    async fn journal(&self) -> Arc<dyn Journal<TripMachine>> {
        let options = PostgresOptions {
            address: &self.address(),
            schema: &self.schema,
            migrations: TripMachine::POSTGRES,
            points: &Points::none(),
        };
        let db = Postgres::open(options).await.unwrap();
        Arc::new(PostgresJournal::new(db).with_service_rows(Arc::new(Budget)))
    }

    async fn trips(&self) -> i64 {
        let mut connection = self.connect().await;
        sqlx::query_scalar(TRIPS).fetch_one(&mut connection).await.unwrap()
    }
}

testing::contract! { service_rows_contract:
    a_refused_begin_stores_no_saga,
    of_concurrent_begins_only_as_many_succeed_as_the_rows_allow,
    concurrent_begins_with_one_key_change_the_rows_once,
    a_record_and_the_rows_commit_together_or_not_at_all,
}

service_rows_contract!(sqlite: SqliteFixture, postgres: PostgresFixture);

async fn a_refused_begin_stores_no_saga(database: &dyn Database) {
    let journal = database.journal().await;
    for key in ["k1", "k2"] {
        begun(&*journal, key, HOUR).await;
    }
    let refused = journal.begin(&new("user-1"), "k3", &lease("me", HOUR)).await.unwrap();
    assert!(matches!(refused, Begun::Refused), "{refused:?}");
    assert_eq!(journal.find("user-1", "k3").await.unwrap(), None);
    let known = journal.begin(&new("user-1"), "k1", &lease("me", HOUR)).await.unwrap();
    assert!(matches!(known, Begun::Exists(_)), "a known key asks no rows: {known:?}");
    assert_eq!(database.trips().await, 2);
}

async fn of_concurrent_begins_only_as_many_succeed_as_the_rows_allow(database: &dyn Database) {
    let journal = database.journal().await;
    let begin = |n: usize| {
        let journal = journal.clone();
        async move {
            journal
                .begin(&new("user-1"), &format!("k{n}"), &lease("me", HOUR))
                .await
                .unwrap()
        }
    };
    let answers = join_all((0..16).map(begin)).await;
    let created = answers.iter().filter(|answer| matches!(answer, Begun::Created(_)));
    assert_eq!((created.count(), database.trips().await), (2, 2));
}

async fn concurrent_begins_with_one_key_change_the_rows_once(database: &dyn Database) {
    let journal = database.journal().await;
    begun(&*journal, "k0", HOUR).await;
    // Opens the connections, so that the begins overlap.
    join_all((0..16).map(|_| journal.find("user-1", "k"))).await;
    let begin = |_| {
        let journal = journal.clone();
        async move { journal.begin(&new("user-1"), "k", &lease("me", HOUR)).await.unwrap() }
    };
    let answers = join_all((0..16).map(begin)).await;
    let created = answers.iter().filter(|answer| matches!(answer, Begun::Created(_)));
    assert_eq!((created.count(), database.trips().await), (1, 2));
    assert!(
        !answers.iter().any(|answer| matches!(answer, Begun::Refused)),
        "{answers:?}"
    );
}

async fn a_record_and_the_rows_commit_together_or_not_at_all(database: &dyn Database) {
    let journal = database.journal().await;
    let claimed = begun(&*journal, "k", HOUR).await;
    let cancelled = steps(TripMachine::other_states().into_iter().skip(1));
    let mut stale = claimed.clone();
    stale.fence = older(stale.fence);
    let lost = journal.record(&stale, &cancelled, &lease("me", HOUR)).await;
    assert!(matches!(lost, Err(StoreError::Conflict)), "{lost:?}");
    assert_eq!(database.trips().await, 1);
    journal.record(&claimed, &cancelled, &lease("me", HOUR)).await.unwrap();
    assert_eq!(database.trips().await, 0);
}
