//! The writer and its readers.

use futures::{FutureExt, future::join_all};
use sqlx::SqliteConnection;

use super::*;
use crate::{BoundedError, Bounds};

const SCHEMA: Migrations = Migrations(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB) STRICT"]);

async fn open(folder: &tempfile::TempDir) -> Sqlite {
    let path = folder.path().join("test.db");
    Sqlite::open(SqliteOptions {
        path: &path,
        migrations: SCHEMA,
        points: &Points::none(),
    })
    .await
    .unwrap()
}

async fn open_new() -> (tempfile::TempDir, Sqlite) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    (folder, db)
}

async fn insert(connection: &mut SqliteConnection, key: i64) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO t (k) VALUES (?)")
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// Inserts a row that takes several pages.
async fn fill(connection: &mut SqliteConnection, key: i64) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO t (k, v) VALUES (?, zeroblob(100000))")
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}

async fn keys(db: &Sqlite) -> Vec<i64> {
    sqlx::query_scalar("SELECT k FROM t ORDER BY k")
        .fetch_all(db.reader())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_failed_or_panicked_job_does_not_disturb_its_group() {
    let (_folder, db) = open_new().await;
    let writes = (0..64).map(|k| {
        db.write("test.insert", move |tx| {
            async move {
                insert(tx, k).await?;
                assert!(k % 3 != 1, "every third panics");
                if k % 3 == 2 { Err(StoreError::Conflict) } else { Ok(k) }
            }
            .boxed()
        })
    });
    for (k, result) in (0..64).zip(join_all(writes).await) {
        match k % 3 {
            0 => assert_eq!(result.unwrap(), k),
            1 => assert!(matches!(result, Err(StoreError::Corrupt(_)))),
            _ => assert!(matches!(result, Err(StoreError::Conflict))),
        }
    }
    assert_eq!(keys(&db).await, (0..64).step_by(3).collect::<Vec<_>>());
}

#[tokio::test]
async fn answered_writes_survive_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&folder).await;
    first.write("test.insert", |tx| insert(tx, 7).boxed()).await.unwrap();
    drop(first);
    assert_eq!(keys(&open(&folder).await).await, [7]);
}

#[tokio::test]
async fn a_duplicate_key_is_a_conflict() {
    let (_folder, db) = open_new().await;
    let results = join_all((0..64).map(|_| db.write("test.insert", |tx| insert(tx, 1).boxed()))).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .filter(|r| r.is_err())
            .all(|r| matches!(r, Err(StoreError::Conflict)))
    );
}

#[tokio::test]
async fn a_transaction_completes_when_its_caller_goes_away() {
    let (_folder, db) = open_new().await;
    let (started, has_started) = tokio::sync::oneshot::channel();
    let write = db.write("test.insert", |tx| {
        async move {
            let _ = started.send(());
            tokio::task::yield_now().await;
            insert(tx, 1).await
        }
        .boxed()
    });
    tokio::select! {
        biased;
        _ = has_started => {}
        _ = write => panic!("answered before it was seen to start"),
    }
    // The second write queues behind the first one.
    db.write("test.insert", |tx| insert(tx, 2).boxed()).await.unwrap();
    assert_eq!(keys(&db).await, [1, 2]);
}

#[tokio::test]
async fn a_stop_finishes_transactions_without_callers_and_accepts_no_more() {
    let (_folder, db) = open_new().await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (finish, may_finish) = tokio::sync::oneshot::channel::<()>();
    let caller = db.write("test.slow", move |tx| {
        async move {
            begun.send(()).unwrap();
            may_finish.await.unwrap();
            insert(tx, 1).await
        }
        .boxed()
    });
    tokio::select! {
        _ = caller => panic!("it was answered before it had ended"),
        begun = has_begun => begun.unwrap(),
    }
    let transactions = db.transactions();
    assert!(!transactions.stop(Duration::ZERO).await, "it goes on");
    finish.send(()).unwrap();
    assert!(transactions.stop(Duration::from_secs(10)).await);
    assert_eq!(keys(&db).await, [1]);
    let late = db.write("test.insert", |tx| insert(tx, 2).boxed()).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
}

#[tokio::test]
async fn failed_work_passes_no_commit_point() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let db = Sqlite::open(SqliteOptions {
        path: &folder.path().join("test.db"),
        migrations: SCHEMA,
        points: &Points::armed(None, Some(&trace)).unwrap(),
    })
    .await
    .unwrap();
    db.write("test.insert", |tx| insert(tx, 1).boxed()).await.unwrap();
    db.write("test.again", |tx| insert(tx, 1).boxed()).await.unwrap_err();
    let passed = std::fs::read_to_string(trace).unwrap();
    assert_eq!(passed, "commit:test.insert:before\ncommit:test.insert:after\n");
}

#[tokio::test]
async fn readers_cannot_write() {
    let (_folder, db) = open_new().await;
    assert!(
        sqlx::query("INSERT INTO t (k) VALUES (1)")
            .execute(db.reader())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn two_megabytes_come_back_as_they_were() {
    let (_folder, db) = open_new().await;
    let value: Vec<u8> = (0..2 << 20).map(|i: u32| i.to_le_bytes()[0]).collect();
    let stored = value.clone();
    db.write("test.insert", |tx| {
        async move {
            sqlx::query("INSERT INTO t (k, v) VALUES (1, ?)")
                .bind(stored)
                .execute(tx)
                .await?;
            Ok(())
        }
        .boxed()
    })
    .await
    .unwrap();
    let read: Vec<u8> = sqlx::query_scalar("SELECT v FROM t")
        .fetch_one(db.reader())
        .await
        .unwrap();
    assert_eq!(read, value);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let newer = Migrations(&[
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB) STRICT",
        "CREATE TABLE u (k)",
    ]);
    let points = Points::none();
    Sqlite::open(SqliteOptions {
        path: &path,
        migrations: newer,
        points: &points,
    })
    .await
    .unwrap();
    let error = Sqlite::open(SqliteOptions {
        path: &path,
        migrations: SCHEMA,
        points: &points,
    })
    .await
    .unwrap_err();
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    std::fs::write(&path, "this is not a database, however much of it one reads").unwrap();
    let options = SqliteOptions {
        path: &path,
        migrations: SCHEMA,
        points: &Points::none(),
    };
    let error = Sqlite::open(options).await.unwrap_err();
    assert!(error.to_string().contains("test.db"), "{error}");
}

#[tokio::test]
async fn a_full_database_takes_writes_again_once_there_is_room() {
    let (_folder, db) = open_new().await;
    assert!(db.is_up().await);
    let limit = async |pages: &'static str| db.write("test.limit", move |tx| execute(tx, pages).boxed()).await;
    let fill = async |key: i64| db.write("test.insert", move |tx| fill(tx, key).boxed()).await;
    limit("PRAGMA max_page_count = 20").await.unwrap();
    for many in [1, 8] {
        for full in join_all((0..many).map(&fill)).await {
            assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
        }
    }
    limit("PRAGMA max_page_count = 10000").await.unwrap();
    for key in join_all((0..8).map(&fill)).await {
        key.unwrap();
    }
    assert_eq!(keys(&db).await, (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_read_only_database_is_not_ready() {
    let (_folder, db) = open_new().await;
    db.write("test.forbid", |tx| execute(tx, "PRAGMA query_only = on").boxed())
        .await
        .unwrap();
    assert!(!db.is_up().await);
    let row = sqlx::query("SELECT 1").execute(db.reader()).await;
    row.expect("it can be read");
}

/// Never ends.
const ENDLESS: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n";

/// One reader and no queue: a read succeeds only after the read before has stopped.
const ONE: Bounds = Bounds {
    concurrent: 1,
    waiting: 0,
    timeout: Duration::from_secs(2),
};

async fn count(readers: &SqliteBounded, sql: &'static str) -> Result<i64, BoundedError> {
    readers
        .run(|reader| async move { Ok(sqlx::query_scalar(sql).fetch_one(reader).await?) }.boxed())
        .await
}

#[tokio::test]
async fn a_bounded_reader_is_interrupted_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let readers = open(&folder).await.bounded(ONE);
    let late = count(&readers, ENDLESS).await;
    assert!(matches!(late, Err(BoundedError::TimedOut)), "{late:?}");
    assert_eq!(count(&readers, "SELECT 1").await.unwrap(), 1);
}

#[tokio::test]
async fn a_bounded_reader_is_interrupted_when_its_caller_goes_away() {
    let (_folder, db) = open_new().await;
    let readers = db.bounded(Bounds {
        timeout: Duration::from_mins(1),
        ..ONE
    });
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let endless = readers.run(|reader| {
        async move {
            begun.send(()).unwrap();
            execute(reader, ENDLESS).await
        }
        .boxed()
    });
    let meanwhile = async {
        has_begun.await.unwrap();
        assert!(matches!(
            count(&readers, "SELECT 1").await,
            Err(BoundedError::QueueFull)
        ));
        assert!(keys(&db).await.is_empty(), "the other readers are free");
    };
    tokio::select! {
        ended = endless => panic!("{ended:?}"),
        () = meanwhile => {}
    }
    assert_eq!(count(&readers, "SELECT 1").await.unwrap(), 1);
}

#[tokio::test]
async fn bounded_readers_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let readers = open(&folder).await.bounded(ONE);
    let written = readers.run(|reader| insert(reader, 1).boxed()).await;
    assert!(matches!(written, Err(BoundedError::Store(_))), "{written:?}");
}

#[tokio::test]
async fn scrubbed_data_is_in_no_file() {
    const SECRET: &[u8] = b"ann-7f3a9c51";
    let (folder, db) = open_new().await;
    let in_a_file = || {
        let files = std::fs::read_dir(folder.path()).unwrap();
        let mut bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        bytes.any(|bytes| bytes.windows(SECRET.len()).any(|window| window == SECRET))
    };
    for key in 0..64 {
        let text = SECRET.repeat(if key % 8 == 0 { 1000 } else { 1 });
        let write = db.write("test.insert", move |tx| {
            async move {
                let insert = sqlx::query("INSERT INTO t (k, v) VALUES (?, ?)").bind(key).bind(text);
                insert.execute(tx).await?;
                Ok(())
            }
            .boxed()
        });
        write.await.unwrap();
    }
    assert!(in_a_file());
    for sql in ["DELETE FROM t WHERE k % 2 = 0", "UPDATE t SET v = x'00'"] {
        db.write("test.remove", |tx| execute(tx, sql).boxed()).await.unwrap();
    }
    db.scrub().await.unwrap();
    assert!(!in_a_file());
    assert_eq!(keys(&db).await.len(), 32, "what was not removed is there");
}
