//! SQLite: one writer that commits in groups, and a pool of readers.

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

/// Before this, resetting the WAL could corrupt the database.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];
const READERS: u32 = 4;
/// Only another process (`dlq redrive` beside a running shop) can hold the write lock, and only for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One SQLite database: a file in WAL mode that is synced at every commit. Clones share it.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: Writer,
    readers: SqlitePool,
    heartbeat: Heartbeat,
    /// The writer.
    tasks: Tasks,
}

/// What it takes to open one.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions<'a> {
    pub path: &'a Path,
    pub migrations: Migrations,
    pub points: &'a Points,
}

impl Sqlite {
    /// Opens the database, makes it if it is not there, and brings its schema up to date.
    pub async fn open(options: SqliteOptions<'_>) -> Result<Self, OpenError> {
        let path = options.path;
        let failed = |cause| OpenError::Database {
            path: path.to_owned(),
            cause,
        };
        // SQLite gives the files beside it the same mode.
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
            // What is removed is not left in the file, where anybody who reads it as bytes would find it.
            .pragma("secure_delete", "on")
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&connect).await.map_err(failed)?;
        check_version(&mut connection).await.map_err(failed)??;
        // `run` does the same, by way of a trait that makes this future one that cannot be sent to another thread.
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

    /// Runs `work` in a transaction and answers once that is on disk. Work that waits at the same time shares a commit.
    ///
    /// `work` that fails leaves nothing behind, and does not disturb the others of its group. It runs to its end even
    /// when the caller goes away. `label` names the commit for its points: `inventory.reserve`.
    pub async fn write<T, F>(&self, label: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.writer.write(Some(label), work).await
    }

    /// What is written for callers that may have gone away. Once it is to stop, what was given to the writer is written, and
    /// nothing else is taken. Without that the writer ends when the last clone of this value is dropped.
    pub fn transactions(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Leaves nothing in the file of what was removed or replaced before: the log in front of it is emptied. Fails while a
    /// reader still needs it.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        let (busy, ..): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.readers)
            .await?;
        if busy == 0 {
            return Ok(());
        }
        Err(StoreError::unavailable("what was removed is still being read"))
    }

    /// Connections that can only read. They see what was committed.
    pub const fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Whether the database answers and takes writes: for a readiness probe.
    pub async fn is_up(&self) -> bool {
        let answers = sqlx::query("SELECT 1").execute(&self.readers).await.is_ok();
        answers && self.heartbeat.beat(|| self.write_heartbeat()).await
    }

    /// Writes the number that SQLite keeps for applications and that nobody uses here: it takes no table, which a store of an
    /// earlier version would not have.
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
