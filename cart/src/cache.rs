//! Copies of carts, and what keeps a cache that is down, slow or behind from being noticed.

mod lifetime;
mod memory;
mod redis;

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
    ports::{CacheError, Cached, CartCache, Ticket},
};

pub use memory::MemoryCache;
pub use redis::{RedisCache, RedisOptions};

/// Customers whose last write the cache may have missed, at most.
const MISSED: usize = 10_000;

/// How often a process that stops tries to tell the cache of the writes that it missed.
const LAST_WORDS: usize = 5;

/// How long a cache may take to forget a customer.
const FORGET_TIMEOUT: Duration = Duration::from_secs(5);

/// How much a cache is put up with.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A call that takes longer has failed.
    pub timeout: Duration,
    /// How long the cache is left alone after a call that failed.
    pub pause: Duration,
    /// The longest that an entry lives.
    pub lifetime: Duration,
}

/// What a cache has of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    Hit(Arc<Cart>),
    /// Who loads it now can bring it with this ticket.
    Miss(Ticket),
    /// It was not asked or did not answer.
    Skipped,
}

/// A cache that never fails and never takes long. It knows which writes the cache has missed, does not believe what is
/// older when the cache is back, and tells it then.
///
/// What remains: who shares the cache with this process reads what is older until the cache has been told. That is over
/// when this process reaches the cache again; if it dies before, when the next one starts; if it has missed more writes than
/// it can remember, when the entry's life is.
pub struct GuardedCache {
    cache: Arc<dyn CartCache>,
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Set while the cache is left alone.
    paused_until: Option<Instant>,
    /// Set when too many writes were missed to know them all: by then all entries of before are gone.
    distrusted_until: Option<Instant>,
    /// The oldest version to believe.
    missed: HashMap<UserId, Version>,
}

impl GuardedCache {
    pub fn new(cache: Arc<dyn CartCache>, patience: Patience) -> Self {
        Self {
            cache,
            patience,
            state: Mutex::default(),
        }
    }

    /// The longest that an entry lives.
    pub const fn lifetime(&self) -> Duration {
        self.patience.lifetime
    }

    pub async fn get(&self, user: &UserId) -> Lookup {
        if self
            .state()
            .distrusted_until
            .is_some_and(|until| Instant::now() < until)
        {
            return Lookup::Skipped;
        }
        let cart = match self.call(self.cache.get(user)).await {
            Some(Cached::Cart(cart)) => cart,
            Some(Cached::Nothing(ticket)) => return Lookup::Miss(ticket),
            None => return Lookup::Skipped,
        };
        let oldest = self.state().missed.get(user).copied().unwrap_or(Version::ZERO);
        if cart.version >= oldest {
            return Lookup::Hit(cart);
        }
        self.invalidate(user, oldest)
            .await
            .map_or(Lookup::Skipped, Lookup::Miss)
    }

    /// Offers a cart that was read or written since the ticket was taken.
    pub async fn put(&self, cart: Arc<Cart>, ticket: Ticket) {
        let (user, version) = (cart.user.clone(), cart.version);
        let done = self.call(self.cache.put(cart, ticket)).await.is_some();
        self.told(&user, version, done);
    }

    /// Forgets what is older than a version that is about to be written. No ticket when the cache was not reached.
    pub async fn invalidate(&self, user: &UserId, version: Version) -> Option<Ticket> {
        let ticket = self.call(self.cache.invalidate(user, version)).await;
        self.told(user, version, ticket.is_some());
        ticket
    }

    /// Forgets a customer whose cart was removed. False when the cache was not reached. Nobody shops meanwhile, so this waits
    /// for an answer longer than other calls do, also while the cache is left alone.
    pub async fn forget(&self, user: &UserId) -> bool {
        let forget = tokio::time::timeout(FORGET_TIMEOUT, self.cache.forget(user));
        let done = matches!(forget.await, Ok(Ok(())));
        if done {
            self.state().missed.remove(user);
        }
        done
    }

    /// Tells the cache of writes that it missed as soon as it is back, until the tasks are stopping.
    pub async fn keep_up(&self, tasks: Tasks) {
        while tasks.sleep(self.patience.pause).await {
            self.catch_up().await;
        }
        // Nobody can tell the cache later, and who shares it would believe its old copies for as long as those live. So it is
        // not left alone now, and one slow answer does not end it.
        for _ in 0..LAST_WORDS {
            self.state().paused_until = None;
            self.catch_up().await;
        }
    }

    async fn catch_up(&self) {
        let missed: Vec<_> = self.state().missed.clone().into_iter().collect();
        for (user, version) in missed {
            if self.invalidate(&user, version).await.is_none() {
                return;
            }
        }
    }

    /// `None` when the cache was left alone, failed, or took too long.
    async fn call<T>(&self, work: impl Future<Output = Result<T, CacheError>>) -> Option<T> {
        if !self.admits() {
            return None;
        }
        let failure = match tokio::time::timeout(self.patience.timeout, work).await {
            Ok(Ok(value)) => {
                self.state().paused_until = None;
                return Some(value);
            }
            Ok(Err(error)) => runtime::telemetry::chain(&error),
            Err(_) => "the cache is slow".to_owned(),
        };
        tracing::warn!(error = failure, pause = ?self.patience.pause, "going on without the cart cache for a while");
        self.state().paused_until = Some(Instant::now() + self.patience.pause);
        None
    }

    /// Whether the cache is to be called. When a pause is over, one call finds out how it is; the others go on without.
    fn admits(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        match state.paused_until {
            Some(until) if now < until => false,
            Some(_) => {
                state.paused_until = Some(now + self.patience.pause);
                true
            }
            None => true,
        }
    }

    /// Keeps in mind whether the cache knows of this version.
    fn told(&self, user: &UserId, version: Version, done: bool) {
        let mut state = self.state();
        if done {
            if state.missed.get(user).is_some_and(|missed| *missed <= version) {
                state.missed.remove(user);
            }
            return;
        }
        if state.missed.len() >= MISSED && !state.missed.contains_key(user) {
            state.missed.clear();
            state.distrusted_until = Some(Instant::now() + self.patience.lifetime);
            return;
        }
        let missed = state.missed.entry(user.clone()).or_insert(version);
        *missed = version.max(*missed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for GuardedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedCache")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
