//! The one task that writes.

use std::panic::AssertUnwindSafe;

use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use runtime::{CrashPoints, Tasks};
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Work that shares one commit, at most. Bounds how long the first of a group waits.
const GROUP: usize = 128;
/// Work that waits, at most; beyond it callers wait for a place.
const QUEUE: usize = 1024;

/// Gives a job its answer: its own result if the group was committed, the reason if not.
type Answer = Box<dyn FnOnce(Result<(), &sqlx::Error>) + Send>;
/// What became of one job: whether its savepoint is to be kept, and how to answer it.
struct Done {
    keep: bool,
    answer: Answer,
}

type Run = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Done> + Send>;

struct Job {
    label: &'static str,
    run: Run,
}

/// A queue to the task that owns the writing connection.
#[derive(Debug, Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label)
    }
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection, crash: CrashPoints, tasks: &Tasks) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tasks.spawn(write_all(connection, queue, crash));
        Self(jobs)
    }

    pub(super) async fn write<T, F>(&self, label: &'static str, work: F) -> Result<T, StoreError>
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
        let gone = || StoreError::unavailable("the writer has stopped");
        self.0.send(Job { label, run }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn panicked() -> StoreError {
    StoreError::corrupt("a transaction panicked")
}

async fn write_all(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Job>, crash: CrashPoints) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let labels: Vec<_> = group.iter().map(|job| job.label).collect();
        let mut answers = Vec::with_capacity(group.len());
        let committed = commit_group(&mut connection, group.drain(..), &mut answers, || {
            for label in &labels {
                crash.before("commit", label);
            }
        })
        .await;
        match &committed {
            Ok(()) => labels.iter().for_each(|label| crash.after("commit", label)),
            Err(error) => {
                tracing::error!(%error, jobs = labels.len(), "a group of transactions was not committed");
                // Fails when there is no transaction any more, which is what it is for.
                let _ = sqlx::query("ROLLBACK").execute(&mut connection).await;
            }
        }
        for answer in answers {
            answer(committed.as_ref().copied());
        }
    }
}

/// One transaction with a savepoint for each job; a job that is alone needs none. An error is one of the group: no job has
/// happened. Jobs that were not run because of it are dropped, which tells their callers.
///
/// Each statement costs two changes of thread, so those that follow one another are sent together.
async fn commit_group(
    connection: &mut SqliteConnection,
    jobs: impl ExactSizeIterator<Item = Job>,
    answers: &mut Vec<Answer>,
    before_commit: impl FnOnce(),
) -> Result<(), sqlx::Error> {
    let alone = jobs.len() == 1;
    let mut next = if alone {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN IMMEDIATE; SAVEPOINT job"
    };
    let mut last = "COMMIT";
    for job in jobs {
        sqlx::query(next).execute(&mut *connection).await?;
        let done = (job.run)(connection).await;
        answers.push(done.answer);
        (next, last) = match (alone, done.keep) {
            (true, true) => ("", "COMMIT"),
            (true, false) => ("", "ROLLBACK"),
            (false, true) => ("RELEASE job; SAVEPOINT job", "RELEASE job; COMMIT"),
            (false, false) => ("ROLLBACK TO job", "ROLLBACK TO job; COMMIT"),
        };
    }
    before_commit();
    sqlx::query(last).execute(&mut *connection).await?;
    Ok(())
}
