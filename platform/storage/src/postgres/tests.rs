use std::time::Duration;

use futures::{FutureExt, future::join_all};
use runtime::Points;
use sqlx::Row;
use testing::Engine;

use super::*;
use crate::{BoundedError, Bounds};

const COUNTER: Migrations = Migrations(&["CREATE TABLE counter (n bigint NOT NULL UNIQUE CHECK (n < 1000))"]);

/// A schema of the test's own. `new` prints a note and returns `None` without PostgreSQL.
struct TestSchema {
    address: PostgresAddress,
    name: String,
}

impl TestSchema {
    fn new() -> Option<Self> {
        let url = Engine::PostgreSql.address()?;
        Some(Self {
            address: PostgresAddress::from_url("DATABASE_URL", &url).unwrap(),
            name: testing::unique_name(),
        })
    }

    async fn open(&self) -> Result<Postgres, OpenError> {
        self.open_with(COUNTER).await
    }

    async fn open_with(&self, migrations: Migrations) -> Result<Postgres, OpenError> {
        Postgres::open(PostgresOptions {
            address: &self.address,
            schema: &self.name,
            migrations,
            points: &Points::none(),
        })
        .await
    }
}

async fn insert(db: &Postgres, n: i64) -> Result<(), StoreError> {
    let write = db.write("test.insert", move |tx| {
        async move {
            sqlx::query("INSERT INTO counter (n) VALUES ($1)")
                .bind(n)
                .execute(tx)
                .await?;
            Ok(())
        }
        .boxed()
    });
    write.await
}

async fn numbers(db: &Postgres) -> Vec<i64> {
    let rows = sqlx::query("SELECT n FROM counter ORDER BY n")
        .fetch_all(db.reader())
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn concurrent_starts_create_one_schema() {
    let Some(schema) = TestSchema::new() else { return };
    let opened = join_all((0..8).map(|_| schema.open())).await;
    for (n, db) in (0..).zip(opened) {
        insert(&db.unwrap(), n).await.unwrap();
    }
    let db = schema.open().await.unwrap();
    assert_eq!(numbers(&db).await, (0..8).collect::<Vec<_>>());
    assert!(db.is_up().await);
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let Some(schema) = TestSchema::new() else { return };
    let newer = Migrations(&["CREATE TABLE counter (n bigint)", "CREATE TABLE more (n bigint)"]);
    schema.open_with(newer).await.unwrap();
    let older = Migrations(&["CREATE TABLE counter (n bigint)"]);
    let error = schema.open_with(older).await.unwrap_err().to_string();
    assert!(
        error.starts_with("DATABASE_URL: ") && error.contains("newer version"),
        "{error}"
    );
}

#[tokio::test]
async fn errors_are_classified() {
    let Some(schema) = TestSchema::new() else { return };
    let db = schema.open().await.unwrap();
    insert(&db, 1).await.unwrap();
    assert!(matches!(insert(&db, 1).await, Err(StoreError::Conflict)));
    assert!(matches!(insert(&db, 1000).await, Err(StoreError::Corrupt(_))));
    let nonsense = db.write("test.nonsense", |tx| {
        async move {
            sqlx::query("INSERT INTO counter (n) VALUES (2)")
                .execute(&mut *tx)
                .await?;
            sqlx::query("SELECT nothing FROM counter").execute(tx).await?;
            Ok(())
        }
        .boxed()
    });
    assert!(matches!(nonsense.await, Err(StoreError::Corrupt(_))));
    // A missing table may come back, as while a backup is restored.
    let missing = sqlx::query("SELECT n FROM nowhere").fetch_all(db.reader()).await;
    assert!(matches!(
        missing.map_err(StoreError::from),
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(numbers(&db).await, [1], "work that fails leaves nothing behind");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_transaction_open() {
    let Some(schema) = TestSchema::new() else { return };
    let db = schema.open().await.unwrap();
    for n in 0..50 {
        let mut write = Box::pin(insert(&db, n));
        // A few polls, so that the future is dropped while acquiring, in BEGIN, in the statement or in COMMIT.
        for _ in 0..n % 10 {
            if futures::poll!(&mut write).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // Had a connection been left inside a transaction, these writes would be lost.
    for n in 100..150 {
        insert(&db, n).await.unwrap();
    }
    let other = schema.open().await.unwrap();
    assert!(numbers(&other).await.ends_with(&(100..150).collect::<Vec<_>>()));
    let begun = async {
        while numbers(&other).await.len() < 50 + 45 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), begun)
        .await
        .expect("what was begun ends");
}

#[tokio::test]
async fn a_wrong_address_is_reported_with_its_variable() {
    let Some(schema) = TestSchema::new() else { return };
    let url = Engine::PostgreSql.address().unwrap();
    let (login, at) = url.split_once('@').unwrap();
    let (host, database) = at.split_once('/').unwrap();
    let user = login.split([':', '/']).rfind(|part| !part.is_empty()).unwrap();
    let cases = [
        (
            format!("postgres://nobody:wrong@{host}/{database}"),
            "does not let this user in",
        ),
        (format!("{login}@{host}/nowhere"), "has no database nowhere"),
        (format!("{login}@127.0.0.1:1/{database}"), "cannot be reached"),
    ];
    for (url, problem) in cases {
        let began = tokio::time::Instant::now();
        let address = PostgresAddress::from_url("ORDERS_DATABASE_URL", &url).unwrap();
        let wrong = TestSchema {
            address,
            name: schema.name.clone(),
        };
        let error = wrong.open().await.unwrap_err().to_string();
        assert!(error.starts_with("ORDERS_DATABASE_URL: PostgreSQL at "), "{error}");
        assert!(error.contains(problem) && !error.contains('\n'), "{error}");
        assert!(!error.contains(user) || problem.contains("user"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(15), "{error}");
    }
}

/// A proxy between client and server that can stop forwarding.
struct Proxy {
    address: PostgresAddress,
    is_cut: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    async fn to(url: &str) -> Self {
        let (before, at) = url.split_once('@').unwrap();
        let (host, database) = at.split_once('/').unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("{before}@{}/{database}", listener.local_addr().unwrap());
        let (host, is_cut, tasks) = (
            host.to_owned(),
            tokio::sync::watch::Sender::new(false),
            runtime::Tasks::new(),
        );
        let (watched, connections) = (is_cut.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (host, mut cut) = (host.clone(), watched.subscribe());
                connections.spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(host).await.unwrap();
                    let is_cut = tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => false,
                        cut = cut.wait_for(|cut| *cut) => cut.is_ok(),
                    };
                    if is_cut {
                        // Both sockets stay open, without traffic.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self {
            address: PostgresAddress::from_url("DATABASE_URL", &here).unwrap(),
            is_cut,
        }
    }
}

#[tokio::test]
async fn a_hung_server_fails_statements_before_the_call_deadline() {
    let Some(url) = Engine::PostgreSql.address() else {
        return;
    };
    let proxy = Proxy::to(&url).await;
    let schema = TestSchema {
        address: proxy.address.clone(),
        name: testing::unique_name(),
    };
    let db = schema.open().await.unwrap();
    insert(&db, 1).await.unwrap();
    // Fresh connections, which are used without a ping: for one transaction and two reads.
    join_all((0..3).map(|_| numbers(&db))).await;
    proxy.is_cut.send_replace(true);
    let began = Instant::now();
    let all = sqlx::query("SELECT n FROM counter").fetch_all(db.reader());
    let one = sqlx::query("SELECT n FROM counter").fetch_optional(db.reader());
    let (written, all, one) = tokio::join!(insert(&db, 2), all, one);
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
    for error in [all.map(drop).unwrap_err(), one.map(drop).unwrap_err()] {
        assert!(matches!(StoreError::from(error), StoreError::Unavailable(_)));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn hung_connections_do_not_fill_the_pool() {
    let Some(url) = Engine::PostgreSql.address() else {
        return;
    };
    let proxy = Proxy::to(&url).await;
    let schema = TestSchema {
        address: proxy.address.clone(),
        name: testing::unique_name(),
    };
    let db = schema.open().await.unwrap();
    let all = || join_all((0..CONNECTIONS).map(|_| sqlx::query("SELECT pg_sleep(0.1)").fetch_all(db.reader())));
    assert!(all().await.iter().all(Result::is_ok));
    proxy.is_cut.send_replace(true);
    assert!(all().await.iter().all(Result::is_err));
    assert!(!db.is_up().await);
    // The old connections still hang; new ones do not.
    proxy.is_cut.send_replace(false);
    assert!(db.is_up().await);
    assert!(all().await.iter().all(Result::is_ok));
}

/// One reader and no queue.
const ONE: Bounds = Bounds {
    concurrent: 1,
    waiting: 0,
    timeout: Duration::from_secs(2),
};

async fn number(readers: &PostgresBounded, sql: &'static str) -> Result<i64, BoundedError> {
    readers
        .run(move |reader| async move { Ok(sqlx::query_scalar(sql).fetch_one(reader).await?) }.boxed())
        .await
}

/// How many statements sleep on the server.
async fn sleepers(db: &Postgres) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name = current_setting('application_name') AND state = 'active' AND query LIKE '%pg_sleep(6%'
            AND pid <> pg_backend_pid()",
    )
    .fetch_one(db.reader())
    .await
    .unwrap()
}

const SLEEP: &str = "SELECT 1::bigint FROM pg_sleep(60)";

#[tokio::test]
async fn the_server_ends_a_bounded_statement_at_its_deadline() {
    let Some(schema) = TestSchema::new() else { return };
    let db = schema.open().await.unwrap();
    let readers = db.bounded(ONE);
    let late = number(&readers, SLEEP).await;
    assert!(matches!(late, Err(BoundedError::TimedOut)), "{late:?}");
    assert_eq!(number(&readers, "SELECT 1::bigint").await.unwrap(), 1);
    while sleepers(&db).await > 0 {}
}

#[tokio::test]
async fn a_bounded_permit_is_held_while_the_server_works() {
    let Some(schema) = TestSchema::new() else { return };
    let db = schema.open().await.unwrap();
    let readers = db.bounded(ONE);
    tokio::select! {
        ended = number(&readers, SLEEP) => panic!("{ended:?}"),
        () = async { while sleepers(&db).await == 0 {} } => {}
    }
    // The caller has gone away.
    let next = number(&readers, "SELECT 1::bigint").await;
    assert!(matches!(next, Err(BoundedError::QueueFull)), "{next:?}");
    while sleepers(&db).await > 0 {}
    while matches!(number(&readers, "SELECT 1::bigint").await, Err(BoundedError::QueueFull)) {
        tokio::task::yield_now().await;
    }
}
