//! Work that runs as long as its service does, and is started again when it panics or ends before.

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
/// Work that has run for so long since it was started again is well.
const STEADY: Duration = Duration::from_secs(1);

/// Whether all work of a group runs. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Wellbeing(Arc<AtomicUsize>);

impl Wellbeing {
    pub fn is_well(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// One piece of work that is not well, as long as this lives.
struct Unwell(Arc<AtomicUsize>);

impl Unwell {
    fn of(group: &Wellbeing) -> Self {
        group.0.fetch_add(1, Ordering::Relaxed);
        Self(group.0.clone())
    }
}

impl Drop for Unwell {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is kept running, for the log.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    pub service: &'static str,
    pub task: &'static str,
}

impl Tasks {
    /// Starts work that should end only after these tasks are stopping. Work that panics or ends before is started again, after
    /// a pause that grows; the group is not well until it has run for a while again.
    pub fn keep_running<F>(&self, name: Name, group: Wellbeing, work: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        let Name { service, task } = name;
        // All that is logged in there says of which service it is.
        let span = tracing::error_span!(parent: None, "task", service, task);
        let work = async move {
            let mut backoff = BACKOFF;
            let mut unwell = None;
            while !tasks.is_stopping() {
                let began = Instant::now();
                // A panic may come before there is a future.
                let ended = match std::panic::catch_unwind(AssertUnwindSafe(&work)) {
                    Ok(work) => run(work, &mut unwell).await,
                    Err(panic) => Err(panic),
                };
                if tasks.is_stopping() {
                    return;
                }
                unwell.get_or_insert_with(|| Unwell::of(&group));
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

/// Runs work to its end. What was not well is, once the work has run for a while.
async fn run(work: impl Future<Output = ()>, unwell: &mut Option<Unwell>) -> std::thread::Result<()> {
    let mut running = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
    tokio::select! {
        ended = &mut running => return ended,
        () = tokio::time::sleep(STEADY) => drop(unwell.take()),
    }
    running.await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const NAME: Name = Name {
        service: "test",
        task: "work",
    };

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_or_ends_is_started_again_and_is_well_once_it_runs() {
        let (tasks, group) = (Tasks::new(), Wellbeing::default());
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
        assert!(!group.is_well(), "it has panicked");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(group.is_well(), "it runs");
        assert_eq!(*starts.lock().unwrap(), 4);
        assert!(tasks.stop(Duration::from_secs(1)).await);
        assert_eq!(*starts.lock().unwrap(), 4, "a stop is no reason to start");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_each_time_is_tried_ever_more_seldom_and_holds_up_no_stop() {
        let (tasks, group) = (Tasks::new(), Wellbeing::default());
        let starts = Arc::new(AtomicUsize::new(0));
        let count = starts.clone();
        tasks.keep_running(NAME, group.clone(), move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { panic!("as the test wanted") }
        });
        tokio::time::sleep(Duration::from_mins(10)).await;
        let starts = starts.load(Ordering::Relaxed);
        assert!((20..40).contains(&starts), "{starts} starts in ten minutes");
        assert!(!group.is_well());
        assert!(tasks.stop(Duration::from_secs(1)).await);
    }
}
