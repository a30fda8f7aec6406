//! Reading that must not take what others need: few at once, few that wait, and an end.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::StoreError;

/// How much of it there may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Readers that read at the same time, each on a connection that nobody else has.
    pub at_once: u16,
    /// Readers that wait for their turn, at most.
    pub waiting: u16,
    /// How long one may wait and read, in all. The reading is interrupted then, and when its caller goes away.
    pub time: Duration,
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub enum BoundedError {
    /// As many wait as may.
    #[error("as many wait to read as may")]
    Full,
    /// It was interrupted, or its turn did not come in time.
    #[error("the time for reading is over")]
    Late,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who may read now, and who may wait for it. Clones share the turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    time: Duration,
}

/// The right to read until a time, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) until: Instant,
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Turns {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let at_once = usize::from(bounds.at_once);
        Self {
            places: Arc::new(Semaphore::new(at_once + usize::from(bounds.waiting))),
            running: Arc::new(Semaphore::new(at_once)),
            time: bounds.time,
        }
    }

    /// Waits for a turn, in the order of asking.
    pub(crate) async fn take(&self) -> Result<Turn, BoundedError> {
        let until = Instant::now() + self.time;
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| BoundedError::Full)?;
        let running = timeout_at(until, self.running.clone().acquire_owned()).await;
        // Nobody closes them.
        let running = running.map_err(|_| BoundedError::Late)?;
        Ok(Turn {
            until,
            _running: running.map_err(|_| BoundedError::Full)?,
            _place: place,
        })
    }
}

impl Turn {
    /// Waits for the answer until the turn ends. `Unavailable` after that end comes from the interrupt: PostgreSQL may end the
    /// statement before the timer of a busy process fires.
    pub(crate) async fn limit<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, BoundedError> {
        match timeout_at(self.until, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(StoreError::Unavailable(_))) if Instant::now() >= self.until => Err(BoundedError::Late),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(BoundedError::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        at_once: 1,
        waiting: 1,
        time: Duration::from_secs(1),
    };

    #[tokio::test(start_paused = true)]
    async fn who_finds_all_places_taken_is_told_at_once_and_who_waits_gets_the_next_turn() {
        let turns = Turns::new(BOUNDS);
        let first = turns.take().await.unwrap();
        let mut second = std::pin::pin!(turns.take());
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(matches!(turns.take().await, Err(BoundedError::Full)));
        drop(first);
        let second = second.await.unwrap();
        drop(second);
        turns.take().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_late_and_leaves_its_place() {
        let turns = Turns::new(BOUNDS);
        let first = turns.take().await.unwrap();
        assert!(matches!(turns.take().await, Err(BoundedError::Late)));
        let late = first.limit(std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(late, Err(BoundedError::Late)));
        drop(first);
        turns.take().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupt_that_is_seen_before_the_end_of_the_turn_is_late_too() {
        let turn = Turns::new(BOUNDS).take().await.unwrap();
        let failure = || StoreError::Unavailable("ended by the server".into());
        let early = turn.limit(async { Err::<(), _>(failure()) }).await;
        assert!(matches!(early, Err(BoundedError::Store(_))), "{early:?}");
        let both_at_once = async |failure| {
            tokio::time::advance(BOUNDS.time).await;
            Err::<(), _>(failure)
        };
        let late = turn.limit(both_at_once(failure())).await;
        assert!(matches!(late, Err(BoundedError::Late)), "{late:?}");
        let turn = Turns::new(BOUNDS).take().await.unwrap();
        let corrupt = turn.limit(both_at_once(StoreError::corrupt("no number"))).await;
        assert!(
            matches!(corrupt, Err(BoundedError::Store(StoreError::Corrupt(_)))),
            "{corrupt:?}"
        );
    }
}
