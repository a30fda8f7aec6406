//! A small write now and then: a store that answers questions may take no changes.

use std::{sync::Arc, time::Duration};

use runtime::telemetry::chain;
use tokio::{sync::Mutex, time::Instant};

use crate::StoreError;

/// How long a write that went well proves that the next one would.
const GOOD_FOR: Duration = Duration::from_secs(3);

/// When a store took its last heartbeat. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    taken: Option<Instant>,
    /// Whether the last one failed, and was logged.
    is_failing: bool,
}

impl Heartbeat {
    /// Whether the store takes writes. Asks it by `write`, unless it has just taken one; those who ask at the same time share
    /// the answer.
    pub async fn beat<F>(&self, write: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let mut state = self.0.lock().await;
        if state.taken.is_some_and(|taken| taken.elapsed() < GOOD_FOR) {
            return true;
        }
        let written = write().await;
        if let Err(error) = &written
            && !state.is_failing
        {
            tracing::warn!(error = chain(error), "a store takes no writes");
        }
        state.is_failing = written.is_err();
        state.taken = written.is_ok().then(Instant::now);
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_is_asked_seldom_while_it_takes_writes_and_each_time_while_it_does_not() {
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
        assert!(ask(Err(StoreError::Conflict)).await, "it has just taken one");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(GOOD_FOR).await;
        assert!(!ask(Err(StoreError::unavailable("full"))).await);
        assert!(!ask(Err(StoreError::unavailable("full"))).await);
        assert!(ask(Ok(())).await, "there is room again");
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }
}
