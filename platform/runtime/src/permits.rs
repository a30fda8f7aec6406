//! A semaphore with a limit per caller.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A fixed number of permits, of which one caller gets only a part, so that others find some. Clones share the permits.
#[derive(Debug, Clone)]
pub struct Permits {
    free: Arc<Semaphore>,
    per_caller: usize,
    counts: Arc<CallerCounts>,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// This caller holds as many permits as one caller may.
    PerCaller,
    /// All permits are in use.
    Total,
}

/// How many permits each caller holds, by keyed hash: no caller can choose a name whose hash collides.
#[derive(Debug, Default)]
struct CallerCounts {
    key: RandomState,
    by_caller: Mutex<HashMap<u64, usize>>,
}

/// A permit. Dropping it releases it.
#[derive(Debug)]
pub struct Permit {
    _caller_permit: CallerPermit,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct CallerPermit {
    counts: Arc<CallerCounts>,
    caller: u64,
}

impl Permits {
    pub fn new(total: usize, each: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(total.min(Semaphore::MAX_PERMITS))),
            // A limit per caller that is not below the total limits nobody.
            per_caller: if each < total { each.max(1) } else { usize::MAX },
            counts: Arc::default(),
        }
    }

    /// Acquires a permit without waiting. A caller at its own limit gets `PerCaller` even if no permit is free, because
    /// a free permit would not help this caller.
    pub fn try_acquire(&self, caller: &impl Hash) -> Result<Permit, LimitReached> {
        let caller_permit = CallerCounts::add(&self.counts, caller, self.per_caller).ok_or(LimitReached::PerCaller)?;
        let permit = self.free.clone().try_acquire_owned().map_err(|_| LimitReached::Total)?;
        Ok(Permit {
            _caller_permit: caller_permit,
            _permit: permit,
        })
    }
}

impl CallerCounts {
    fn add(this: &Arc<Self>, caller: &impl Hash, max: usize) -> Option<CallerPermit> {
        let caller = this.key.hash_one(caller);
        let mut counts = this.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(counts);
        let counts = this.clone();
        Some(CallerPermit { counts, caller })
    }
}

impl Drop for CallerPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_gets_its_limit_and_others_get_the_rest() {
        let permits = Permits::new(3, 2);
        let mut greedy = vec![
            permits.try_acquire(&"greedy").unwrap(),
            permits.try_acquire(&"greedy").unwrap(),
        ];
        assert_eq!(permits.try_acquire(&"greedy").unwrap_err(), LimitReached::PerCaller);
        let other = permits.try_acquire(&"other").unwrap();
        assert_eq!(permits.try_acquire(&"third").unwrap_err(), LimitReached::Total);
        assert_eq!(
            permits.try_acquire(&"greedy").unwrap_err(),
            LimitReached::PerCaller,
            "a free permit would not help"
        );
        greedy.pop();
        let third = permits.try_acquire(&"third").unwrap();
        assert_eq!(permits.try_acquire(&"greedy").unwrap_err(), LimitReached::Total);
        drop((greedy, other, third));
        assert!(permits.try_acquire(&"greedy").is_ok());
        assert!(permits.counts.by_caller.lock().unwrap().is_empty(), "not forgotten");
    }
}
