//! A lock per user: one task of this process at a time loads or changes a user's cart.
//!
//! The locks spare the store concurrent loads and conflicts. Correctness does not depend on them: other processes have
//! locks of their own, and the cart's version decides.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

use crate::domain::UserId;

/// Unused locks are removed from this many entries on.
const CLEANUP_THRESHOLD: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct UserLocks(Mutex<Locks>);

#[derive(Debug, Default)]
struct Locks {
    by_user: HashMap<UserId, Weak<tokio::sync::Mutex<()>>>,
    /// Locks that the last cleanup left. The next cleanup comes when their number has doubled.
    left_by_cleanup: usize,
}

impl UserLocks {
    /// Waits for the user's lock, which is held until the guard is dropped.
    pub(super) async fn lock(&self, user: &UserId) -> OwnedMutexGuard<()> {
        self.lock_of(user).lock_owned().await
    }

    fn lock_of(&self, user: &UserId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.by_user.get(user).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.by_user.len() >= CLEANUP_THRESHOLD.max(locks.left_by_cleanup * 2) {
            locks.by_user.retain(|_, lock| lock.strong_count() > 0);
            locks.left_by_cleanup = locks.by_user.len();
        }
        let lock = Arc::default();
        locks.by_user.insert(user.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_lock_blocks_its_own_user_only() {
        let locks = UserLocks::default();
        let (one, other) = (UserId::new("one").unwrap(), UserId::new("other").unwrap());
        let guard = locks.lock(&one).await;
        assert!(locks.lock(&one).now_or_never().is_none());
        assert!(locks.lock(&other).now_or_never().is_some());
        drop(guard);
        assert!(locks.lock(&one).now_or_never().is_some());
    }

    #[tokio::test]
    async fn unused_locks_are_removed_and_held_ones_stay() {
        let locks = UserLocks::default();
        let held = locks.lock(&UserId::new("held").unwrap()).await;
        for n in 0..10 * CLEANUP_THRESHOLD {
            locks.lock(&UserId::new(n.to_string()).unwrap()).await;
        }
        assert!(locks.0.lock().unwrap().by_user.len() <= CLEANUP_THRESHOLD);
        assert!(locks.lock(&UserId::new("held").unwrap()).now_or_never().is_none());
        drop(held);
    }
}
