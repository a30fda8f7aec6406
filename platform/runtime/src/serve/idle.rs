//! Connections that are idle. When all places are taken, one idle connection is closed for each newcomer: the one that has been
//! idle for longest.

use std::{
    collections::{BTreeMap, btree_map::OccupiedEntry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::Capacity;

/// At most this many are being closed at once. A newcomer that is refused meanwhile finds one of their places when it tries
/// again.
const AT_ONCE: usize = 4;

/// Idle connections, the one that has been idle for longest first. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    idle: BTreeMap<u64, (Instant, Arc<Notify>)>,
    leaving: usize,
}

/// An idle connection, until this is dropped.
#[derive(Debug)]
pub struct Idle {
    queue: Queue,
    id: u64,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has become idle. It is told through `leave` when it should make room.
    pub(super) fn join(&self, leave: &Arc<Notify>) -> Idle {
        let mut waiting = self.waiting();
        let id = waiting.next;
        waiting.next += 1;
        waiting.idle.insert(id, (Instant::now(), leave.clone()));
        drop(waiting);
        Idle {
            queue: self.clone(),
            id,
        }
    }

    /// Tells the connection that has been idle for longest to close, if it has been idle for [`Capacity::SHORT_PATIENCE`].
    pub(super) fn one_leaves(&self) {
        let mut waiting = self.waiting();
        if waiting.leaving >= AT_ONCE {
            return;
        }
        let longest = waiting.idle.first_entry();
        let long_enough = longest.filter(|entry| entry.get().0.elapsed() >= Capacity::SHORT_PATIENCE);
        if let Some((_, leave)) = long_enough.map(OccupiedEntry::remove) {
            waiting.leaving += 1;
            leave.notify_one();
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        if waiting.idle.remove(&self.id).is_none() {
            waiting.leaving -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_that_are_idle_for_longest_leave_and_no_more_at_once_than_are_needed() {
        let queue = Queue::default();
        let leave: Vec<_> = (0..AT_ONCE + 2).map(|_| Arc::new(Notify::new())).collect();
        let mut idle: Vec<_> = leave.iter().map(|leave| Some(queue.join(leave))).collect();
        // Who has left: each is told once.
        let told = || leave.iter().map(|leave| leave.notified().now_or_never().is_some());
        queue.one_leaves();
        assert!(told().all(|told| !told), "they have just become idle");
        advance(Capacity::SHORT_PATIENCE).await;
        idle[0] = None;
        queue.one_leaves();
        assert!(told().enumerate().all(|(number, told)| told == (number == 1)));
        (0..AT_ONCE + 2).for_each(|_| queue.one_leaves());
        assert_eq!(told().filter(|told| *told).count(), AT_ONCE - 1);
        idle[1] = None;
        queue.one_leaves();
        assert_eq!(told().filter(|told| *told).count(), 1, "there is one on its way less");
    }
}
