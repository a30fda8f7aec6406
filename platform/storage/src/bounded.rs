//! Reads with limits on concurrency, queue length and time, so that they cannot starve other work.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::StoreError;

/// The limits of a bounded reader.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Concurrent readers, each on a connection of its own.
    pub concurrent: u16,
    /// The longest queue of readers that wait for a permit.
    pub waiting: u16,
    /// The limit for waiting and reading together. Then, or when the caller goes away, the read is interrupted.
    pub timeout: Duration,
}

/// Why a bounded read failed.
#[derive(Debug, thiserror::Error)]
pub enum BoundedError {
    /// The queue of waiting readers is full.
    #[error("too many readers are waiting")]
    QueueFull,
    /// The read was interrupted, or its permit did not come in time.
    #[error("the read timed out")]
    TimedOut,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Limits concurrent and waiting readers. Clones share the permits.
#[derive(Debug, Clone)]
pub(crate) struct ReadLimiter {
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
    timeout: Duration,
}

/// A permit to read until the deadline. Dropping the permit releases it.
#[derive(Debug)]
pub(crate) struct ReadPermit {
    pub(crate) deadline: Instant,
    _running: OwnedSemaphorePermit,
    _queued: OwnedSemaphorePermit,
}

impl ReadLimiter {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let concurrent = usize::from(bounds.concurrent);
        Self {
            queue: Arc::new(Semaphore::new(concurrent + usize::from(bounds.waiting))),
            running: Arc::new(Semaphore::new(concurrent)),
            timeout: bounds.timeout,
        }
    }

    /// Waits for a permit, first come first served.
    pub(crate) async fn acquire(&self) -> Result<ReadPermit, BoundedError> {
        let deadline = Instant::now() + self.timeout;
        let queued = self.queue.clone().try_acquire_owned();
        let queued = queued.map_err(|_| BoundedError::QueueFull)?;
        let running = timeout_at(deadline, self.running.clone().acquire_owned()).await;
        // The semaphores are never closed.
        let running = running.map_err(|_| BoundedError::TimedOut)?;
        Ok(ReadPermit {
            deadline,
            _running: running.map_err(|_| BoundedError::QueueFull)?,
            _queued: queued,
        })
    }
}

impl ReadPermit {
    /// Runs `answer` until the deadline. `Unavailable` after the deadline means an interrupted read: PostgreSQL may end
    /// the statement before the timer of a busy process fires.
    pub(crate) async fn run<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, BoundedError> {
        match timeout_at(self.deadline, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(StoreError::Unavailable(_))) if Instant::now() >= self.deadline => Err(BoundedError::TimedOut),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(BoundedError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        concurrent: 1,
        waiting: 1,
        timeout: Duration::from_secs(1),
    };

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_waiting_readers_get_the_next_permit() {
        let limiter = ReadLimiter::new(BOUNDS);
        let first = limiter.acquire().await.unwrap();
        let mut second = std::pin::pin!(limiter.acquire());
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(matches!(limiter.acquire().await, Err(BoundedError::QueueFull)));
        drop(first);
        let second = second.await.unwrap();
        drop(second);
        limiter.acquire().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_too_long_times_out_and_leaves_the_queue() {
        let limiter = ReadLimiter::new(BOUNDS);
        let first = limiter.acquire().await.unwrap();
        assert!(matches!(limiter.acquire().await, Err(BoundedError::TimedOut)));
        let late = first.run(std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(late, Err(BoundedError::TimedOut)));
        drop(first);
        limiter.acquire().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupt_seen_before_the_timer_fires_is_a_timeout() {
        let permit = ReadLimiter::new(BOUNDS).acquire().await.unwrap();
        let failure = || StoreError::Unavailable("ended by the server".into());
        let early = permit.run(async { Err::<(), _>(failure()) }).await;
        assert!(matches!(early, Err(BoundedError::Store(_))), "{early:?}");
        let both_at_once = async |failure| {
            tokio::time::advance(BOUNDS.timeout).await;
            Err::<(), _>(failure)
        };
        let late = permit.run(both_at_once(failure())).await;
        assert!(matches!(late, Err(BoundedError::TimedOut)), "{late:?}");
        let permit = ReadLimiter::new(BOUNDS).acquire().await.unwrap();
        let corrupt = permit.run(both_at_once(StoreError::corrupt("no number"))).await;
        assert!(
            matches!(corrupt, Err(BoundedError::Store(StoreError::Corrupt(_)))),
            "{corrupt:?}"
        );
    }
}
