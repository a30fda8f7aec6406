//! Places that callers share.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many places, and no more than a share of them for one caller: whatever one does, the others find some. Clones
/// share them.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    share: usize,
    taken: Arc<Taken>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// This caller has its share.
    Share,
    /// All places are taken.
    All,
}

/// How many places each caller has, under a keyed hash of its name: nobody can choose a name that collides.
#[derive(Debug, Default)]
struct Taken {
    key: RandomState,
    counts: Mutex<HashMap<u64, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _share: Share,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Share {
    taken: Arc<Taken>,
    caller: u64,
}

impl Places {
    pub fn new(number: usize, share: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS))),
            // A share of all places limits nobody.
            share: if share < number { share.max(1) } else { usize::MAX },
            taken: Arc::default(),
        }
    }

    /// A place for this caller, at once or not at all. A caller that has its share is told so even if all places are taken:
    /// a free place would not help it.
    pub fn take(&self, caller: &impl Hash) -> Result<Place, Full> {
        let share = Taken::one_more(&self.taken, caller, self.share).ok_or(Full::Share)?;
        let permit = self.free.clone().try_acquire_owned().map_err(|_| Full::All)?;
        Ok(Place {
            _share: share,
            _permit: permit,
        })
    }
}

impl Taken {
    fn one_more(this: &Arc<Self>, caller: &impl Hash, most: usize) -> Option<Share> {
        let caller = this.key.hash_one(caller);
        let mut counts = this.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        let taken = this.clone();
        Some(Share { taken, caller })
    }
}

impl Drop for Share {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_has_its_share_and_the_others_have_the_rest() {
        let places = Places::new(3, 2);
        let mut greedy = vec![places.take(&"greedy").unwrap(), places.take(&"greedy").unwrap()];
        assert_eq!(places.take(&"greedy").unwrap_err(), Full::Share);
        let other = places.take(&"other").unwrap();
        assert_eq!(places.take(&"third").unwrap_err(), Full::All);
        assert_eq!(
            places.take(&"greedy").unwrap_err(),
            Full::Share,
            "no other place would help"
        );
        greedy.pop();
        let third = places.take(&"third").unwrap();
        assert_eq!(places.take(&"greedy").unwrap_err(), Full::All);
        drop((greedy, other, third));
        assert!(places.take(&"greedy").is_ok());
        assert!(places.taken.counts.lock().unwrap().is_empty(), "nobody is remembered");
    }
}
