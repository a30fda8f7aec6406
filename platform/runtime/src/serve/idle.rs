//! Idle connections. When all permits are taken, each newcomer evicts the connection that has been idle longest.

use std::{
    collections::{BTreeMap, btree_map::OccupiedEntry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::Capacity;

/// The most evictions in progress. A newcomer refused meanwhile finds a released permit when it tries again.
const MAX_EVICTIONS: usize = 4;

/// Idle connections, longest idle first. Clones share the queue.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleQueue(Arc<Mutex<QueueState>>);

#[derive(Debug, Default)]
struct QueueState {
    next: u64,
    idle: BTreeMap<u64, (Instant, Arc<Notify>)>,
    evicting: usize,
}

/// Marks a connection as idle until it is dropped.
#[derive(Debug)]
pub(crate) struct IdleConnection {
    queue: IdleQueue,
    id: u64,
}

impl IdleQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an idle connection. `evict` is notified when the connection should close.
    pub(super) fn enter(&self, evict: &Arc<Notify>) -> IdleConnection {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.idle.insert(id, (Instant::now(), evict.clone()));
        drop(state);
        IdleConnection {
            queue: self.clone(),
            id,
        }
    }

    /// Evicts the connection that has been idle longest, if that is at least [`Capacity::PRESSURE_TIMEOUT`].
    pub(super) fn evict_longest_idle(&self) {
        let mut state = self.state();
        if state.evicting >= MAX_EVICTIONS {
            return;
        }
        let longest = state.idle.first_entry();
        let long_enough = longest.filter(|entry| entry.get().0.elapsed() >= Capacity::PRESSURE_TIMEOUT);
        if let Some((_, evict)) = long_enough.map(OccupiedEntry::remove) {
            state.evicting += 1;
            evict.notify_one();
        }
    }
}

impl Drop for IdleConnection {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if state.idle.remove(&self.id).is_none() {
            state.evicting -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_is_evicted_first_and_few_at_once() {
        let queue = IdleQueue::default();
        let evict: Vec<_> = (0..MAX_EVICTIONS + 2).map(|_| Arc::new(Notify::new())).collect();
        let mut idle: Vec<_> = evict.iter().map(|evict| Some(queue.enter(evict))).collect();
        // Which connections were notified; `notified` consumes the notification.
        let evicted = || evict.iter().map(|evict| evict.notified().now_or_never().is_some());
        queue.evict_longest_idle();
        assert!(evicted().all(|evicted| !evicted), "they have just become idle");
        advance(Capacity::PRESSURE_TIMEOUT).await;
        idle[0] = None;
        queue.evict_longest_idle();
        assert!(evicted().enumerate().all(|(number, evicted)| evicted == (number == 1)));
        (0..MAX_EVICTIONS + 2).for_each(|_| queue.evict_longest_idle());
        assert_eq!(evicted().filter(|evicted| *evicted).count(), MAX_EVICTIONS - 1);
        idle[1] = None;
        queue.evict_longest_idle();
        assert_eq!(evicted().filter(|evicted| *evicted).count(), 1, "one has ended");
    }
}
