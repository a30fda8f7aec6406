//! SQLite: one writer with group commit, and a pool of readers.

mod bounded;
mod writer;

use std::{path::Path, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use runtime::{Points, Tasks};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{Heartbeat, Migrations, OpenError, StoreError, private};
use writer::Writer;

pub use bounded::SqliteBounded;

/// Older versions can corrupt the database when they reset the WAL.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];
const READERS: u32 = 4;
/// Only another process (`dlq redrive` beside a running shop) can hold the write lock, and only briefly.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One SQLite database: a file in WAL mode that is synced at every commit. Clones share it.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: Writer,
    readers: SqlitePool,
    heartbeat: Heartbeat,
    /// The writer task.
    tasks: Tasks,
}

/// How to open a SQLite database.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions<'a> {
    pub path: &'a Path,
    pub migrations: Migrations,
    pub points: &'a Points,
}

impl Sqlite {
    /// Opens the database, creates it if missing, and applies pending migrations.
    pub async fn open(options: SqliteOptions<'_>) -> Result<Self, OpenError> {
        let path = options.path;
        let failed = |cause| OpenError::Database {
            path: path.to_owned(),
            cause,
        };
        // SQLite gives its companion files the mode of the database file.
        private::prepare(path).map_err(|cause| OpenError::File {
            path: path.to_owned(),
            cause,
        })?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Overwrites deleted data, so that the bytes of the file do not contain it.
            .pragma("secure_delete", "on")
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&connect).await.map_err(failed)?;
        check_version(&mut connection).await.map_err(failed)??;
        // Not `run`: it goes through a trait whose future is not `Send`.
        options
            .migrations
            .migrator()
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|cause| {
                let path = path.to_owned();
                if matches!(cause, MigrateError::VersionMissing(_)) {
                    OpenError::Newer { path }
                } else {
                    OpenError::Migration { path, cause }
                }
            })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_with(connect.clone().pragma("query_only", "on"))
            .await
            .map_err(failed)?;
        let tasks = Tasks::new();
        let writer = Writer::start(connection, connect, options.points.clone(), &tasks);
        Ok(Self {
            writer,
            readers,
            heartbeat: Heartbeat::default(),
            tasks,
        })
    }

    /// Runs `work` in a transaction and returns once the commit is on disk. Waiting transactions share a commit; failed
    /// `work` leaves nothing behind and does not disturb its group. The transaction completes even if the caller goes
    /// away. `label` names the commit's points: `inventory.reserve`.
    pub async fn write<T, F>(&self, label: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.writer.write(Some(label), work).await
    }

    /// The writer task. When stopped, it finishes the queued transactions and accepts no more. Otherwise it ends when
    /// the last clone of this value is dropped.
    pub fn transactions(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Truncates the WAL, so that deleted and replaced data is in no file. Fails while a reader needs the WAL.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        let (busy, ..): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.readers)
            .await?;
        if busy == 0 {
            return Ok(());
        }
        Err(StoreError::unavailable("a reader still needs the WAL"))
    }

    /// Read-only connections. They see committed data.
    pub const fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Whether the database answers and takes writes. For readiness probes.
    pub async fn is_up(&self) -> bool {
        let answers = sqlx::query("SELECT 1").execute(&self.readers).await.is_ok();
        answers && self.heartbeat.beat(|| self.write_heartbeat()).await
    }

    /// Writes `user_version`, which nothing else uses here. A table would be unknown to earlier versions of the program.
    async fn write_heartbeat(&self) -> Result<(), StoreError> {
        self.writer.write(None, |tx| write_user_version(tx).boxed()).await
    }
}

async fn write_user_version(tx: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("PRAGMA user_version = 1").execute(tx).await?;
    Ok(())
}

async fn check_version(connection: &mut SqliteConnection) -> Result<Result<(), OpenError>, sqlx::Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(connection)
        .await?;
    let version: Vec<u32> = found.split('.').filter_map(|part| part.parse().ok()).collect();
    Ok(if version.as_slice() >= OLDEST_SQLITE.as_slice() {
        Ok(())
    } else {
        Err(OpenError::SqliteTooOld { found })
    })
}

#[cfg(test)]
mod tests;
