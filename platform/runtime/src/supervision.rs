//! Supervised background work, which is restarted after a panic or an early end.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{task::JoinHandle, time::Instant};
use tracing::Instrument;

use crate::{Tasks, telemetry::panic_text};

const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Restarted work counts as healthy after running for this long.
const HEALTHY_AFTER: Duration = Duration::from_secs(1);

/// Whether all work of a group is healthy. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskHealth(Arc<AtomicUsize>);

impl TaskHealth {
    pub(crate) fn is_healthy(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Counts one piece of work as failed until it is dropped.
struct FailureGuard(Arc<AtomicUsize>);

impl FailureGuard {
    fn of(group: &TaskHealth) -> Self {
        group.0.fetch_add(1, Ordering::Relaxed);
        Self(group.0.clone())
    }
}

impl Drop for FailureGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Names supervised work in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskName {
    pub(crate) service: &'static str,
    pub(crate) task: &'static str,
}

impl Tasks {
    /// Runs work that should end only after these tasks are stopping. Work that panics or ends early is restarted after
    /// a growing backoff. Until restarted work has run for a while, the group is unhealthy.
    pub(crate) fn keep_running<F>(
        &self,
        name: TaskName,
        group: TaskHealth,
        work: impl Fn() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        let TaskName { service, task } = name;
        // So that log lines of the work name the service.
        let span = tracing::error_span!(parent: None, "task", service, task);
        let work = async move {
            let mut backoff = BACKOFF;
            let mut failure = None;
            while !tasks.is_stopping() {
                let began = Instant::now();
                // `work` may panic before it returns a future.
                let ended = match std::panic::catch_unwind(AssertUnwindSafe(&work)) {
                    Ok(work) => run(work, &mut failure).await,
                    Err(panic) => Err(panic),
                };
                if tasks.is_stopping() {
                    return;
                }
                failure.get_or_insert_with(|| FailureGuard::of(&group));
                if began.elapsed() > MAX_BACKOFF {
                    backoff = BACKOFF;
                }
                let why = match &ended {
                    Ok(()) => "it ended by itself",
                    Err(panic) => panic_text(panic.as_ref()),
                };
                tracing::error!(why, ?backoff, "a background task ended; starting it again");
                tasks.sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        };
        self.spawn(work.instrument(span))
    }
}

/// Runs work to its end. The work counts as healthy again after [`HEALTHY_AFTER`].
async fn run(work: impl Future<Output = ()>, failure: &mut Option<FailureGuard>) -> std::thread::Result<()> {
    let mut running = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
    tokio::select! {
        ended = &mut running => return ended,
        () = tokio::time::sleep(HEALTHY_AFTER) => drop(failure.take()),
    }
    running.await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const NAME: TaskName = TaskName {
        service: "test",
        task: "work",
    };

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_or_ends_is_restarted_and_healthy_once_it_runs() {
        let (tasks, group) = (Tasks::new(), TaskHealth::default());
        let starts = Arc::new(Mutex::new(0));
        let (work_starts, work_tasks) = (starts.clone(), tasks.clone());
        tasks.keep_running(NAME, group.clone(), move || {
            let start = {
                let mut starts = work_starts.lock().unwrap();
                *starts += 1;
                *starts
            };
            assert!(start > 1, "the first one panics before it has begun");
            let tasks = work_tasks.clone();
            async move {
                tokio::task::yield_now().await;
                match start {
                    2 => panic!("the second one later"),
                    3 => {}
                    _ => tasks.stopping().await,
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!group.is_healthy(), "it has panicked");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(group.is_healthy(), "it runs");
        assert_eq!(*starts.lock().unwrap(), 4);
        assert!(tasks.stop(Duration::from_secs(1)).await);
        assert_eq!(*starts.lock().unwrap(), 4, "a stop is no reason to start");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_always_panics_is_restarted_with_backoff_and_delays_no_stop() {
        let (tasks, group) = (Tasks::new(), TaskHealth::default());
        let starts = Arc::new(AtomicUsize::new(0));
        let count = starts.clone();
        tasks.keep_running(NAME, group.clone(), move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { panic!("as the test wanted") }
        });
        tokio::time::sleep(Duration::from_mins(10)).await;
        let starts = starts.load(Ordering::Relaxed);
        assert!((20..40).contains(&starts), "{starts} starts in ten minutes");
        assert!(!group.is_healthy());
        assert!(tasks.stop(Duration::from_secs(1)).await);
    }
}
