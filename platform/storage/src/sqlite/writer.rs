//! The one task that writes.

use std::panic::AssertUnwindSafe;

use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use runtime::{Kind, Passage, Points, Tasks, telemetry::panic_text};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Work that shares one commit, at most. Bounds how long the first of a group waits.
const GROUP: usize = 128;
/// Work that waits, at most; beyond it callers wait for a place.
const QUEUE: usize = 1024;

/// What SQLite says to a ROLLBACK when it has rolled back by itself.
const NO_TRANSACTION: &str = "no transaction is active";

/// Gives a job its answer: its own result if the group was committed, the reason if not.
type Answer = Box<dyn FnOnce(Result<(), &sqlx::Error>) + Send>;
/// What became of one job: whether its savepoint is to be kept, and how to answer it.
struct Done {
    keep: bool,
    answer: Answer,
}

type Run = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Done> + Send>;

struct Job {
    /// Names the commit for its points; a heartbeat passes none.
    label: Option<&'static str>,
    run: Run,
}

/// A queue to the task that owns the writing connection.
#[derive(Debug, Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label.unwrap_or("heartbeat"))
    }
}

impl Writer {
    /// `connect` makes a connection like `connection`, if that is lost.
    pub(super) fn start(
        connection: SqliteConnection,
        connect: SqliteConnectOptions,
        points: Points,
        tasks: &Tasks,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writing = Writing {
            connection: Some(connection),
            connect,
            points,
        };
        tasks.spawn(writing.write_all(queue, tasks.clone()));
        Self(jobs)
    }

    pub(super) async fn write<T, F>(&self, label: Option<&'static str>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |connection| {
            // A job may panic before its future exists, or in it: neither may take the writer down.
            let work = std::panic::catch_unwind(AssertUnwindSafe(|| work(connection)));
            let work = work.unwrap_or_else(|_| ready(Err(panicked())).boxed());
            let work = AssertUnwindSafe(work).catch_unwind();
            async move {
                let result = work.await.unwrap_or_else(|_| Err(panicked()));
                let keep = result.is_ok();
                let answer: Answer = Box::new(move |committed| {
                    let result = match committed {
                        Err(error) if keep => Err(StoreError::unavailable(error.to_string())),
                        Ok(()) | Err(_) => result,
                    };
                    // The caller may have gone away.
                    let _ = answer.send(result);
                });
                Done { keep, answer }
            }
            .boxed()
        });
        let stopped = |_| StoreError::unavailable("the writer has stopped");
        self.0.send(Job { label, run }).await.map_err(stopped)?;
        let not_run = |_| StoreError::unavailable("the transactions that it was to share a commit with failed");
        answered.await.map_err(not_run)?
    }
}

fn panicked() -> StoreError {
    StoreError::corrupt("a transaction panicked")
}

/// What the task owns.
struct Writing {
    /// None after a failure that leaves it unknown whether the connection is still inside a transaction.
    connection: Option<SqliteConnection>,
    connect: SqliteConnectOptions,
    points: Points,
}

impl Writing {
    /// Runs until nobody can give it work any more, or it is to stop and has done what it was given. Whatever happens to one
    /// group, the next one is tried.
    async fn write_all(mut self, mut queue: mpsc::Receiver<Job>, tasks: Tasks) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let taken = tokio::select! {
                taken = queue.recv_many(&mut group, GROUP) => taken,
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

    /// Runs one group, and answers it. Jobs that were not run are dropped, which tells their callers.
    async fn write_group(&mut self, jobs: Vec<Job>) {
        let size = jobs.len();
        let mut answers = Vec::with_capacity(size);
        let committed = match connected(&mut self.connection, &self.connect).await {
            Ok(connection) => commit_group(connection, jobs.into_iter(), &mut answers, &self.points).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &committed {
            tracing::error!(%error, jobs = size, "a group of transactions was not committed");
            self.leave_transaction().await;
        }
        for answer in answers {
            answer(committed.as_ref().copied());
        }
    }

    /// After a failure: SQLite has rolled back by itself, or is told to. If neither is known the connection is closed, which
    /// rolls back too.
    async fn leave_transaction(&mut self) {
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

    /// Closes the connection, which rolls back what it was in the middle of. The next group gets a new one.
    async fn close_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            // It is gone, whatever it says.
            let _ = connection.close().await;
        }
    }
}

/// The connection; a new one if it was lost.
async fn connected<'c>(
    connection: &'c mut Option<SqliteConnection>,
    connect: &SqliteConnectOptions,
) -> Result<&'c mut SqliteConnection, sqlx::Error> {
    let ready = match connection.take() {
        Some(ready) => ready,
        None => connect.connect().await?,
    };
    Ok(connection.insert(ready))
}

/// One transaction with a savepoint for each job; a job that is alone needs none. An error is one of the group: no job has
/// happened. Jobs that were not run because of it are dropped, which tells their callers.
///
/// Each statement costs two changes of thread, so those that follow one another are sent together.
async fn commit_group(
    connection: &mut SqliteConnection,
    jobs: impl ExactSizeIterator<Item = Job>,
    answers: &mut Vec<Answer>,
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
        answers.push(done.answer);
        kept.extend(job.label.filter(|_| done.keep));
        (next, last) = match (alone, done.keep) {
            (true, true) => ("", "COMMIT"),
            (true, false) => ("", "ROLLBACK"),
            (false, true) => ("RELEASE job; SAVEPOINT job", "RELEASE job; COMMIT"),
            (false, false) => ("ROLLBACK TO job", "ROLLBACK TO job; COMMIT"),
        };
    }
    let commits: Vec<_> = kept.iter().map(|label| points.enter(Kind::Commit, label)).collect();
    sqlx::query(last).execute(&mut *connection).await?;
    commits.into_iter().for_each(Passage::done);
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
    async fn a_group_that_panics_takes_neither_the_writer_nor_half_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let (begun, has_begun) = oneshot::channel();
        let doomed: Run = Box::new(|connection| {
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
        // Its key is free: nothing of the group was kept.
        execute(&writer, "INSERT INTO t VALUES (1)").await.unwrap();
    }

    #[tokio::test]
    async fn a_transaction_that_was_ended_behind_its_back_fails_and_the_next_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        // As SQLite does by itself when a disk is full; the commit finds no transaction then.
        execute(&writer, "ROLLBACK").await.unwrap_err();
        execute(&writer, "INSERT INTO t VALUES (1)").await.unwrap();
    }
}
