//! The cart cache in this process.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use moka::{Expiry, future::Cache, ops::compute::Op, policy::EvictionPolicy};
use uuid::Uuid;

use super::ttl::EntryTtl;
use crate::{
    domain::{Cart, UserId, Version},
    ports::{CacheError, Cached, CartCache, FillToken},
};

/// In carts. The least recently used ones are evicted.
const CAPACITY: u64 = 100_000;

/// A bounded cache. Clones share their entries.
#[derive(Debug, Clone)]
pub struct MemoryCache {
    entries: Cache<UserId, Entry>,
    next_token: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
enum Entry {
    Cart(Arc<Cart>),
    Tombstone(Tombstone),
}

/// Stands for a missing cart. Accepts a cart with this token and of version `oldest` or newer.
#[derive(Debug, Clone, Copy)]
struct Tombstone {
    oldest: Version,
    token: FillToken,
}

impl Entry {
    /// The entry after a put; `None` if the current entry stays.
    fn after_put(current: Option<&Self>, cart: Arc<Cart>, token: FillToken) -> Option<Self> {
        let version = cart.version;
        match current {
            Some(Self::Cart(old)) => (version > old.version).then_some(Self::Cart(cart)),
            Some(Self::Tombstone(tombstone)) if version < tombstone.oldest => None,
            Some(Self::Tombstone(tombstone)) if tombstone.token == token => Some(Self::Cart(cart)),
            // The tombstone of this token is gone, and a newer cart may have been evicted since.
            Some(Self::Tombstone(tombstone)) => Some(Self::Tombstone(Tombstone {
                oldest: version,
                ..*tombstone
            })),
            None => None,
        }
    }
}

impl MemoryCache {
    /// Entries live for `ttl` plus a random part of `jitter`.
    pub fn new(ttl: Duration, jitter: Duration) -> Self {
        let entries = Cache::builder()
            .max_capacity(CAPACITY)
            // LRU always admits a new entry. Moka's default may reject a cart that was just written.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(EntryTtl { base: ttl, jitter })
            .build();
        Self {
            entries,
            next_token: Arc::default(),
        }
    }

    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    fn next_token(&self) -> FillToken {
        FillToken(Uuid::from_u64_pair(0, self.next_token.fetch_add(1, Ordering::Relaxed)))
    }

    /// Replaces the entry unless `next` returns `None`.
    async fn update(&self, user: &UserId, next: impl FnOnce(Option<&Entry>) -> Option<Entry>) {
        let compute = self.entries.entry_by_ref(user).and_compute_with(|current| {
            let entry = next(current.as_ref().map(moka::Entry::value));
            ready(entry.map_or(Op::Nop, Op::Put))
        });
        compute.await;
    }
}

#[async_trait]
impl CartCache for MemoryCache {
    async fn get(&self, user: &UserId) -> Result<Cached, CacheError> {
        let tombstone = Entry::Tombstone(Tombstone {
            oldest: Version::ZERO,
            token: self.next_token(),
        });
        let entry = self.entries.entry_by_ref(user).or_insert(tombstone).await;
        Ok(match entry.into_value() {
            Entry::Cart(cart) => Cached::Cart(cart),
            Entry::Tombstone(tombstone) => Cached::Missing(tombstone.token),
        })
    }

    async fn put(&self, cart: Arc<Cart>, token: FillToken) -> Result<(), CacheError> {
        let user = cart.user.clone();
        self.update(&user, |current| Entry::after_put(current, cart, token))
            .await;
        Ok(())
    }

    async fn invalidate(&self, user: &UserId, version: Version) -> Result<FillToken, CacheError> {
        let mut token = self.next_token();
        self.update(user, |current| {
            let mut oldest = version;
            match current {
                Some(Entry::Cart(cart)) if cart.version >= version => return None,
                Some(Entry::Tombstone(tombstone)) => {
                    oldest = oldest.max(tombstone.oldest);
                    token = tombstone.token;
                }
                Some(Entry::Cart(_)) | None => {}
            }
            Some(Entry::Tombstone(Tombstone { oldest, token }))
        })
        .await;
        Ok(token)
    }

    async fn forget(&self, user: &UserId) -> Result<(), CacheError> {
        self.entries.invalidate(user).await;
        Ok(())
    }
}

impl Expiry<UserId, Entry> for EntryTtl {
    fn expire_after_create(&self, _: &UserId, _: &Entry, _: Instant) -> Option<Duration> {
        Some(self.random())
    }

    fn expire_after_update(&self, _: &UserId, _: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.random())
    }
}
