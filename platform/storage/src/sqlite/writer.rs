//! The writer task.

use std::panic::AssertUnwindSafe;

use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use runtime::{PointGuard, PointKind, Points, Tasks, telemetry::panic_text};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// The most jobs that share one commit. Bounds how long the first job of a group waits.
const MAX_GROUP: usize = 128;
/// The most queued jobs. Beyond that, callers wait until the queue has room.
const QUEUE_CAPACITY: usize = 1024;

/// SQLite's answer to a ROLLBACK after SQLite has rolled back by itself.
const NO_TRANSACTION: &str = "no transaction is active";

/// Sends a job's result to its caller: the job's own result after a commit, otherwise the error of the commit.
type Reply = Box<dyn FnOnce(Result<(), &sqlx::Error>) + Send>;
/// The outcome of one job: whether to keep its savepoint, and how to reply.
struct JobOutcome {
    keep: bool,
    reply: Reply,
}

type RunJob = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, JobOutcome> + Send>;

struct Job {
    /// Names the commit's points. `None` for a heartbeat, which passes no points.
    label: Option<&'static str>,
    run: RunJob,
}

/// The queue of the writer task.
#[derive(Debug, Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label.unwrap_or("heartbeat"))
    }
}

impl Writer {
    /// `connect` replaces `connection` if it is lost.
    pub(super) fn start(
        connection: SqliteConnection,
        connect: SqliteConnectOptions,
        points: Points,
        tasks: &Tasks,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_CAPACITY);
        let task = WriterTask {
            connection: Some(connection),
            connect,
            points,
        };
        tasks.spawn(task.write_all(queue, tasks.clone()));
        Self(jobs)
    }

    pub(super) async fn write<T, F>(&self, label: Option<&'static str>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let run: RunJob = Box::new(move |connection| {
            // Work may panic before its future exists, or while it runs. The writer survives both.
            let work = std::panic::catch_unwind(AssertUnwindSafe(|| work(connection)));
            let work = work.unwrap_or_else(|_| ready(Err(panicked())).boxed());
            let work = AssertUnwindSafe(work).catch_unwind();
            async move {
                let result = work.await.unwrap_or_else(|_| Err(panicked()));
                let keep = result.is_ok();
                let reply: Reply = Box::new(move |committed| {
                    let result = match committed {
                        Err(error) if keep => Err(StoreError::unavailable(error.to_string())),
                        Ok(()) | Err(_) => result,
                    };
                    // Fails if the caller has gone away.
                    let _ = reply.send(result);
                });
                JobOutcome { keep, reply }
            }
            .boxed()
        });
        let stopped = |_| StoreError::unavailable("the writer has stopped");
        self.0.send(Job { label, run }).await.map_err(stopped)?;
        let skipped = |_| StoreError::unavailable("the group commit failed");
        result.await.map_err(skipped)?
    }
}

fn panicked() -> StoreError {
    StoreError::corrupt("a transaction panicked")
}

struct WriterTask {
    /// `None` after a failure, when the connection may still be inside a transaction.
    connection: Option<SqliteConnection>,
    connect: SqliteConnectOptions,
    points: Points,
}

impl WriterTask {
    /// Runs until all senders are dropped, or until the stop, when queued jobs are finished first. A failed group does
    /// not end the writer.
    async fn write_all(mut self, mut queue: mpsc::Receiver<Job>, tasks: Tasks) {
        let mut group = Vec::with_capacity(MAX_GROUP);
        loop {
            let taken = tokio::select! {
                taken = queue.recv_many(&mut group, MAX_GROUP) => taken,
                () = tasks.stopping(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            };
            if taken == 0 {
                return self.close_connection().await;
            }
            let jobs = std::mem::take(&mut group);
            if let Err(panic) = AssertUnwindSafe(self.write_group(jobs)).catch_unwind().await {
                self.close_connection().await;
                let what = panic_text(panic.as_ref());
                tracing::error!(what, "a group of transactions panicked and was not committed");
            }
        }
    }

    /// Runs and answers one group. Jobs that did not run are dropped, which fails their callers.
    async fn write_group(&mut self, jobs: Vec<Job>) {
        let size = jobs.len();
        let mut replies = Vec::with_capacity(size);
        let committed = match ensure_connected(&mut self.connection, &self.connect).await {
            Ok(connection) => commit_group(connection, jobs.into_iter(), &mut replies, &self.points).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &committed {
            tracing::error!(%error, jobs = size, "a group of transactions was not committed");
            self.roll_back().await;
        }
        for reply in replies {
            reply(committed.as_ref().copied());
        }
    }

    /// Rolls back after a failure, unless SQLite already has. If that fails, closes the connection, which rolls back too.
    async fn roll_back(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match sqlx::query("ROLLBACK").execute(connection).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) if error.message().contains(NO_TRANSACTION) => {}
            Err(error) => {
                tracing::warn!(%error, "a transaction could not be rolled back; its connection is replaced");
                self.close_connection().await;
            }
        }
    }

    /// Closes the connection, which rolls back any open transaction. The next group opens a new connection.
    async fn close_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            // The connection is gone, even if closing fails.
            let _ = connection.close().await;
        }
    }
}

/// Returns the connection, or opens a new one if it was lost.
async fn ensure_connected<'c>(
    connection: &'c mut Option<SqliteConnection>,
    connect: &SqliteConnectOptions,
) -> Result<&'c mut SqliteConnection, sqlx::Error> {
    let ready = match connection.take() {
        Some(ready) => ready,
        None => connect.connect().await?,
    };
    Ok(connection.insert(ready))
}

/// Commits one transaction with a savepoint for each job; a single job needs no savepoint. After an error nothing of
/// the group is committed. Jobs that did not run are dropped, which fails their callers. Each statement costs two
/// thread switches, so consecutive statements are sent together.
async fn commit_group(
    connection: &mut SqliteConnection,
    jobs: impl ExactSizeIterator<Item = Job>,
    replies: &mut Vec<Reply>,
    points: &Points,
) -> Result<(), sqlx::Error> {
    let alone = jobs.len() == 1;
    let mut next = if alone {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN IMMEDIATE; SAVEPOINT job"
    };
    let mut last = "COMMIT";
    let mut kept = Vec::with_capacity(jobs.len());
    for job in jobs {
        sqlx::query(next).execute(&mut *connection).await?;
        let done = (job.run)(connection).await;
        replies.push(done.reply);
        kept.extend(job.label.filter(|_| done.keep));
        (next, last) = match (alone, done.keep) {
            (true, true) => ("", "COMMIT"),
            (true, false) => ("", "ROLLBACK"),
            (false, true) => ("RELEASE job; SAVEPOINT job", "RELEASE job; COMMIT"),
            (false, false) => ("ROLLBACK TO job", "ROLLBACK TO job; COMMIT"),
        };
    }
    let commits: Vec<_> = kept
        .iter()
        .map(|label| points.enter(PointKind::Commit, label))
        .collect();
    sqlx::query(last).execute(&mut *connection).await?;
    commits.into_iter().for_each(PointGuard::done);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn writer(folder: &tempfile::TempDir) -> Writer {
        let connect = SqliteConnectOptions::new()
            .filename(folder.path().join("test.db"))
            .create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&connect).await.unwrap();
        sqlx::query("CREATE TABLE t (k INTEGER PRIMARY KEY) STRICT")
            .execute(&mut connection)
            .await
            .unwrap();
        Writer::start(connection, connect, Points::none(), &Tasks::new())
    }

    async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(connection).await?;
        Ok(())
    }

    async fn execute(writer: &Writer, sql: &'static str) -> Result<(), StoreError> {
        writer.write(Some("test.write"), move |tx| run(tx, sql).boxed()).await
    }

    #[tokio::test]
    async fn the_writer_survives_a_panicked_group_and_commits_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let (begun, has_begun) = oneshot::channel();
        let doomed: RunJob = Box::new(|connection| {
            async move {
                begun.send(()).unwrap();
                run(connection, "INSERT INTO t VALUES (1)").await.unwrap();
                panic!("as the test wanted")
            }
            .boxed()
        });
        let label = Some("test.write");
        writer.0.send(Job { label, run: doomed }).await.unwrap();
        has_begun.await.unwrap();
        // Key 1 is free: nothing of the group was committed.
        execute(&writer, "INSERT INTO t VALUES (1)").await.unwrap();
    }

    #[tokio::test]
    async fn a_transaction_rolled_back_by_sqlite_fails_and_the_next_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        // As when a disk is full: SQLite rolls back by itself, and COMMIT finds no transaction.
        execute(&writer, "ROLLBACK").await.unwrap_err();
        execute(&writer, "INSERT INTO t VALUES (1)").await.unwrap();
    }
}
