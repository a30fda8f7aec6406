//! Turns: in this process, one at a time loads or changes a customer's cart.
//!
//! It saves the store the loads of those who miss at once and the conflicts of those who write at once. Correctness does
//! not rest on it: other processes have turns of their own, and versions decide.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

use crate::domain::UserId;

/// Entries that are there before those nobody holds are looked for.
const SWEEP_AT: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Queues>);

#[derive(Debug, Default)]
struct Queues {
    by_user: HashMap<UserId, Weak<tokio::sync::Mutex<()>>>,
    /// How many were left by the last sweep: the next one waits until they have doubled.
    held: usize,
}

impl Turns {
    /// Waits for the customer's turn, which lasts until the value is dropped.
    pub(super) async fn of(&self, user: &UserId) -> OwnedMutexGuard<()> {
        self.queue(user).lock_owned().await
    }

    fn queue(&self, user: &UserId) -> Arc<tokio::sync::Mutex<()>> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.by_user.get(user).and_then(Weak::upgrade) {
            return queue;
        }
        if queues.by_user.len() >= SWEEP_AT.max(queues.held * 2) {
            queues.by_user.retain(|_, queue| queue.strong_count() > 0);
            queues.held = queues.by_user.len();
        }
        let queue = Arc::default();
        queues.by_user.insert(user.clone(), Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_customer_waits_and_another_does_not() {
        let turns = Turns::default();
        let (one, other) = (UserId::new("one").unwrap(), UserId::new("other").unwrap());
        let turn = turns.of(&one).await;
        assert!(turns.of(&one).now_or_never().is_none());
        assert!(turns.of(&other).now_or_never().is_some());
        drop(turn);
        assert!(turns.of(&one).now_or_never().is_some());
    }

    #[tokio::test]
    async fn customers_who_are_done_leave_nothing_behind() {
        let turns = Turns::default();
        let kept = turns.of(&UserId::new("kept").unwrap()).await;
        for n in 0..10 * SWEEP_AT {
            turns.of(&UserId::new(n.to_string()).unwrap()).await;
        }
        assert!(turns.0.lock().unwrap().by_user.len() <= SWEEP_AT);
        assert!(turns.of(&UserId::new("kept").unwrap()).now_or_never().is_none());
        drop(kept);
    }
}
