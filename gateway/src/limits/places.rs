//! Places that callers share.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use proto::Reason;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{caller::Caller, problem::Problem};

/// So many places, and no more than a share of them for one caller: whatever one does, the others find some. Clones
/// share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    share: usize,
    taken: Arc<Taken>,
}

/// How many places each caller has, under a keyed hash of its name: nobody can choose a name that collides.
#[derive(Debug, Default)]
struct Taken {
    key: RandomState,
    counts: Mutex<HashMap<u64, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _share: Share<'a>,
    _permit: SemaphorePermit<'a>,
}

#[derive(Debug)]
struct Share<'a> {
    taken: &'a Taken,
    caller: u64,
}

impl Places {
    pub(super) fn new(number: usize, share: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS))),
            share: share.max(1),
            taken: Arc::default(),
        }
    }

    /// A place for this caller, at once or not at all.
    pub(super) fn take(&self, caller: &Caller<'_>) -> Result<Place<'_>, Problem> {
        let share = self.taken.one_more(caller, self.share).ok_or_else(|| {
            Problem::new(
                Reason::RateLimitExceeded,
                "too many requests of this caller are in progress",
            )
        })?;
        let permit = self
            .free
            .try_acquire()
            .map_err(|_| Problem::of(Reason::ServiceUnavailable))?;
        Ok(Place {
            _share: share,
            _permit: permit,
        })
    }
}

impl Taken {
    fn one_more(&self, caller: &Caller<'_>, most: usize) -> Option<Share<'_>> {
        let caller = self.key.hash_one(caller);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share { taken: self, caller })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut counts = self.taken.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}
