//! Heartbeat writes: a store that answers reads may still refuse writes.

use std::{sync::Arc, time::Duration};

use runtime::telemetry::chain;
use tokio::{sync::Mutex, time::Instant};

use crate::StoreError;

/// How long one successful write counts as proof that the store takes writes.
const VALID_FOR: Duration = Duration::from_secs(3);

/// The last heartbeat of a store. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<Mutex<HeartbeatState>>);

#[derive(Debug, Default)]
struct HeartbeatState {
    succeeded_at: Option<Instant>,
    /// The last heartbeat failed. Only the first failure in a row is logged.
    failure_logged: bool,
}

impl Heartbeat {
    /// Whether the store takes writes. Calls `write`, unless a recent heartbeat succeeded. Concurrent callers share a
    /// call.
    pub async fn beat<F>(&self, write: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let mut state = self.0.lock().await;
        if state.succeeded_at.is_some_and(|at| at.elapsed() < VALID_FOR) {
            return true;
        }
        let written = write().await;
        if let Err(error) = &written
            && !state.failure_logged
        {
            tracing::warn!(error = chain(error), "a store takes no writes");
        }
        state.failure_logged = written.is_err();
        state.succeeded_at = written.is_ok().then(Instant::now);
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn heartbeats_are_cached_on_success_and_repeated_on_failure() {
        let (heartbeat, asked) = (Heartbeat::default(), AtomicU32::new(0));
        let ask = async |answer: Result<(), StoreError>| {
            heartbeat
                .beat(|| async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    answer
                })
                .await
        };
        assert!(ask(Ok(())).await);
        assert!(ask(Err(StoreError::Conflict)).await, "the last success still counts");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(VALID_FOR).await;
        assert!(!ask(Err(StoreError::unavailable("full"))).await);
        assert!(!ask(Err(StoreError::unavailable("full"))).await);
        assert!(ask(Ok(())).await, "there is room again");
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }
}
