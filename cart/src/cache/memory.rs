//! Copies of carts in this process.

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

use super::lifetime::Lifetime;
use crate::{
    domain::{Cart, UserId, Version},
    ports::{CacheError, Cached, CartCache, Ticket},
};

/// Carts that are kept, at most; those that were not looked at for longest go first.
const CAPACITY: u64 = 100_000;

/// A bounded cache whose entries live for a time, plus a random part of it so that they do not all go at once. Clones
/// share it.
#[derive(Debug, Clone)]
pub struct MemoryCache {
    entries: Cache<UserId, Entry>,
    tickets: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
enum Entry {
    Cart(Arc<Cart>),
    Gap(Gap),
}

/// There is no cart, and none that is older than this is to come.
#[derive(Debug, Clone, Copy)]
struct Gap {
    oldest: Version,
    ticket: Ticket,
}

impl Entry {
    /// What takes the place of what is held when a cart is brought; `None`: that stays.
    fn of(cart: Arc<Cart>, ticket: Ticket, held: Option<&Self>) -> Option<Self> {
        let version = cart.version;
        match held {
            Some(Self::Cart(old)) => (version > old.version).then_some(Self::Cart(cart)),
            Some(Self::Gap(gap)) if version < gap.oldest => None,
            Some(Self::Gap(gap)) if gap.ticket == ticket => Some(Self::Cart(cart)),
            // The gap that the ticket names is gone, and with it perhaps something newer.
            Some(Self::Gap(gap)) => Some(Self::Gap(Gap {
                oldest: version,
                ..*gap
            })),
            None => None,
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
        Self {
            entries,
            tickets: Arc::default(),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    fn next_ticket(&self) -> Ticket {
        Ticket(Uuid::from_u64_pair(0, self.tickets.fetch_add(1, Ordering::Relaxed)))
    }

    /// Puts something in the place of what is held, unless that is to stay.
    async fn change(&self, user: &UserId, change: impl FnOnce(Option<&Entry>) -> Option<Entry>) {
        let compute = self.entries.entry_by_ref(user).and_compute_with(|held| {
            let entry = change(held.as_ref().map(moka::Entry::value));
            ready(entry.map_or(Op::Nop, Op::Put))
        });
        compute.await;
    }
}

#[async_trait]
impl CartCache for MemoryCache {
    async fn get(&self, user: &UserId) -> Result<Cached, CacheError> {
        let ticket = self.next_ticket();
        let gap = Entry::Gap(Gap {
            oldest: Version::ZERO,
            ticket,
        });
        Ok(
            match self.entries.entry_by_ref(user).or_insert(gap).await.into_value() {
                Entry::Cart(cart) => Cached::Cart(cart),
                Entry::Gap(gap) => Cached::Nothing(gap.ticket),
            },
        )
    }

    async fn put(&self, cart: Arc<Cart>, ticket: Ticket) -> Result<(), CacheError> {
        let user = cart.user.clone();
        self.change(&user, |held| Entry::of(cart, ticket, held)).await;
        Ok(())
    }

    async fn invalidate(&self, user: &UserId, version: Version) -> Result<Ticket, CacheError> {
        let mut ticket = self.next_ticket();
        self.change(user, |held| {
            let mut oldest = version;
            match held {
                Some(Entry::Cart(cart)) if cart.version >= version => return None,
                Some(Entry::Gap(gap)) => {
                    oldest = oldest.max(gap.oldest);
                    ticket = gap.ticket;
                }
                Some(Entry::Cart(_)) | None => {}
            }
            Some(Entry::Gap(Gap { oldest, ticket }))
        })
        .await;
        Ok(ticket)
    }

    async fn forget(&self, user: &UserId) -> Result<(), CacheError> {
        self.entries.invalidate(user).await;
        Ok(())
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
