//! Tracked tasks, which may outlive the request that started them, but not the process.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// A group of tasks that are stopped together.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task in the current span. The task should end soon after [`Tasks::stopping`] resolves.
    #[allow(clippy::disallowed_methods, reason = "the tracker is what makes it not detached")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task.in_current_span())
    }

    /// Resolves when the tasks must stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Sleeps until the duration has passed or the tasks must stop. True if the whole duration has passed.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.stopping() => false,
        }
    }

    /// Tells the tasks to stop, and waits at most for `limit`. False if some have not ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_tasks_but_not_for_ever() {
        let tasks = Tasks::new();
        let good = tasks.clone();
        let task = tasks.spawn(async move { good.stopping().await });
        assert!(tasks.stop(Duration::from_secs(1)).await);
        task.await.unwrap();

        let stubborn = Tasks::new();
        stubborn.spawn(std::future::pending::<()>());
        assert!(!stubborn.stop(Duration::from_secs(1)).await);
    }
}
