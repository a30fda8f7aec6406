//! The cart cache, and a guard that hides a cache that is down, slow or stale.

mod memory;
mod redis;
mod ttl;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::Tasks;
use tokio::time::Instant;

use crate::{
    domain::{Cart, UserId, Version},
    ports::{CacheError, Cached, CartCache, FillToken},
};

pub use memory::MemoryCache;
pub use redis::{RedisCache, RedisOptions};

/// Users for whom missed writes are remembered, at most.
const MAX_MISSED_WRITES: usize = 10_000;

/// Attempts to invalidate missed writes when the process stops.
const FINAL_ATTEMPTS: usize = 5;

const FORGET_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct GuardOptions {
    /// A slower call counts as failed.
    pub timeout: Duration,
    /// How long the cache is skipped after a failed call.
    pub retry_after: Duration,
    /// The longest TTL of an entry.
    pub max_ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheLookup {
    Hit(Arc<Cart>),
    /// A reader that loads the cart may cache it with this token.
    Miss(FillToken),
    /// The cache was not called or did not answer.
    Skipped,
}

/// A cache that never fails and answers in bounded time. The guard remembers the writes that the cache missed, ignores
/// older copies, and invalidates them when the cache is back.
///
/// Limit: other processes with the same cache read older copies until then. If this process crashes first, they do
/// until the next process starts. If this process missed too many writes, they do until the entries expire.
pub struct GuardedCache {
    cache: Arc<dyn CartCache>,
    options: GuardOptions,
    state: Mutex<GuardState>,
}

#[derive(Debug, Default)]
struct GuardState {
    /// The cache is skipped until then.
    skipped_until: Option<Instant>,
    /// Set when too many writes were missed to remember them: reads skip the cache until all entries have expired.
    distrusted_until: Option<Instant>,
    /// The oldest version that may be read from the cache.
    missed_writes: HashMap<UserId, Version>,
}

impl GuardedCache {
    pub fn new(cache: Arc<dyn CartCache>, options: GuardOptions) -> Self {
        Self {
            cache,
            options,
            state: Mutex::default(),
        }
    }

    pub const fn max_ttl(&self) -> Duration {
        self.options.max_ttl
    }

    pub async fn get(&self, user: &UserId) -> CacheLookup {
        if self
            .state()
            .distrusted_until
            .is_some_and(|until| Instant::now() < until)
        {
            return CacheLookup::Skipped;
        }
        let cart = match self.call(self.cache.get(user)).await {
            Some(Cached::Cart(cart)) => cart,
            Some(Cached::Missing(token)) => return CacheLookup::Miss(token),
            None => return CacheLookup::Skipped,
        };
        let oldest = self.state().missed_writes.get(user).copied().unwrap_or(Version::ZERO);
        if cart.version >= oldest {
            return CacheLookup::Hit(cart);
        }
        self.invalidate(user, oldest)
            .await
            .map_or(CacheLookup::Skipped, CacheLookup::Miss)
    }

    /// Caches a cart that was loaded or written after the token was taken.
    pub async fn put(&self, cart: Arc<Cart>, token: FillToken) {
        let (user, version) = (cart.user.clone(), cart.version);
        let done = self.call(self.cache.put(cart, token)).await.is_some();
        self.record_write(&user, version, done);
    }

    /// Removes copies older than a version that is about to be written. `None` if the cache was not reached.
    pub async fn invalidate(&self, user: &UserId, version: Version) -> Option<FillToken> {
        let token = self.call(self.cache.invalidate(user, version)).await;
        self.record_write(user, version, token.is_some());
        token
    }

    /// Removes the entry of a customer whose cart was deleted. False if the cache was not reached. Waits longer than
    /// other calls and calls a skipped cache, too, since an erasure is not urgent.
    pub async fn forget(&self, user: &UserId) -> bool {
        let forget = tokio::time::timeout(FORGET_TIMEOUT, self.cache.forget(user));
        let done = matches!(forget.await, Ok(Ok(())));
        if done {
            self.state().missed_writes.remove(user);
        }
        done
    }

    /// Invalidates missed writes as soon as the cache is back, until the tasks stop.
    pub async fn run_catch_up(&self, tasks: Tasks) {
        while tasks.sleep(self.options.retry_after).await {
            self.catch_up().await;
        }
        // The last chance: other processes would read the old copies until those expire. So the cache is not skipped
        // now, and one slow answer does not end the attempts.
        for _ in 0..FINAL_ATTEMPTS {
            self.state().skipped_until = None;
            self.catch_up().await;
        }
    }

    async fn catch_up(&self) {
        let missed: Vec<_> = self.state().missed_writes.clone().into_iter().collect();
        for (user, version) in missed {
            if self.invalidate(&user, version).await.is_none() {
                return;
            }
        }
    }

    /// `None` if the cache was skipped, failed, or took too long.
    async fn call<T>(&self, work: impl Future<Output = Result<T, CacheError>>) -> Option<T> {
        if !self.may_call() {
            return None;
        }
        let failure = match tokio::time::timeout(self.options.timeout, work).await {
            Ok(Ok(value)) => {
                self.state().skipped_until = None;
                return Some(value);
            }
            Ok(Err(error)) => runtime::telemetry::chain(&error),
            Err(_) => "the cache is slow".to_owned(),
        };
        tracing::warn!(error = failure, pause = ?self.options.retry_after, "going on without the cart cache for a while");
        self.state().skipped_until = Some(Instant::now() + self.options.retry_after);
        None
    }

    /// Whether to call the cache. After a pause one call probes the cache, and the others still skip it.
    fn may_call(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        match state.skipped_until {
            Some(until) if now < until => false,
            Some(_) => {
                state.skipped_until = Some(now + self.options.retry_after);
                true
            }
            None => true,
        }
    }

    /// Remembers or clears a missed write.
    fn record_write(&self, user: &UserId, version: Version, reached_cache: bool) {
        let mut state = self.state();
        if reached_cache {
            if state.missed_writes.get(user).is_some_and(|missed| *missed <= version) {
                state.missed_writes.remove(user);
            }
            return;
        }
        if state.missed_writes.len() >= MAX_MISSED_WRITES && !state.missed_writes.contains_key(user) {
            state.missed_writes.clear();
            state.distrusted_until = Some(Instant::now() + self.options.max_ttl);
            return;
        }
        let missed = state.missed_writes.entry(user.clone()).or_insert(version);
        *missed = version.max(*missed);
    }

    fn state(&self) -> MutexGuard<'_, GuardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for GuardedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedCache")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
