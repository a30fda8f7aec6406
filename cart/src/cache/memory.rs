//! Copies of carts in this process.

use std::{
    future::ready,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use moka::{Expiry, future::Cache, ops::compute::Op, policy::EvictionPolicy};

use crate::{
    domain::{Cart, UserId, Version},
    ports::{CacheError, CartCache},
};

/// Carts that are kept, at most; those that were not looked at for longest go first.
const CAPACITY: u64 = 100_000;

/// A bounded cache whose entries live for a time, plus a random part of it so that they do not all go at once.
#[derive(Debug, Clone)]
pub struct MemoryCache {
    entries: Cache<UserId, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Cart(Arc<Cart>),
    /// There was a cart, perhaps of this version; older ones are not to be taken.
    Tombstone(Version),
}

impl Entry {
    /// Whether it is to take the place of `held`.
    fn replaces(&self, held: &Self) -> bool {
        match (self, held) {
            (Self::Cart(new), Self::Cart(old)) => new.version > old.version,
            (Self::Cart(new), Self::Tombstone(oldest)) => new.version >= *oldest,
            (Self::Tombstone(oldest), Self::Cart(old)) => *oldest > old.version,
            (Self::Tombstone(new), Self::Tombstone(old)) => new > old,
        }
    }
}

impl MemoryCache {
    /// Entries live for `ttl` and up to `jitter` more.
    pub fn new(ttl: Duration, jitter: Duration) -> Self {
        let entries = Cache::builder()
            .max_capacity(CAPACITY)
            // A cart that was just written must get in, whatever others are read more often.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Lifetime { ttl, jitter })
            .build();
        Self { entries }
    }

    async fn offer(&self, user: &UserId, entry: Entry) {
        let compute = self.entries.entry_by_ref(user).and_compute_with(|held| {
            let keep = held.is_some_and(|held| !entry.replaces(held.value()));
            ready(if keep { Op::Nop } else { Op::Put(entry) })
        });
        compute.await;
    }
}

#[async_trait]
impl CartCache for MemoryCache {
    async fn get(&self, user: &UserId) -> Result<Option<Arc<Cart>>, CacheError> {
        Ok(match self.entries.get(user).await {
            Some(Entry::Cart(cart)) => Some(cart),
            Some(Entry::Tombstone(_)) | None => None,
        })
    }

    async fn put(&self, cart: Arc<Cart>) -> Result<(), CacheError> {
        self.offer(&cart.user.clone(), Entry::Cart(cart)).await;
        Ok(())
    }

    async fn invalidate(&self, user: &UserId, version: Version) -> Result<(), CacheError> {
        self.offer(user, Entry::Tombstone(version)).await;
        Ok(())
    }
}

#[derive(Debug)]
struct Lifetime {
    ttl: Duration,
    jitter: Duration,
}

impl Lifetime {
    fn draw(&self) -> Duration {
        let jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        self.ttl + Duration::from_millis(fastrand::u64(0..=jitter))
    }
}

impl Expiry<UserId, Entry> for Lifetime {
    fn expire_after_create(&self, _: &UserId, _: &Entry, _: Instant) -> Option<Duration> {
        Some(self.draw())
    }

    fn expire_after_update(&self, _: &UserId, _: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_live_for_the_time_and_a_part_of_the_jitter() {
        let (ttl, jitter) = (Duration::from_mins(15), Duration::from_mins(5));
        let lifetime = Lifetime { ttl, jitter };
        let drawn: Vec<_> = (0..1000).map(|_| lifetime.draw()).collect();
        assert!(drawn.iter().all(|life| *life >= ttl && *life <= ttl + jitter));
        assert!(drawn.iter().any(|life| *life < ttl + jitter / 4));
        assert!(drawn.iter().any(|life| *life > ttl + jitter / 4 * 3));
    }
}
