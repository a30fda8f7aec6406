//! What carts need of the world.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;
use uuid::Uuid;

use crate::domain::{Cart, Offer, ProductId, UserId, Version};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Carts, one document each. Every method is one atomic unit.
#[async_trait]
pub trait CartStore: Send + Sync {
    async fn load(&self, user: &UserId) -> Result<Option<Cart>, StoreError>;
    /// Saves if the stored version is still `expected` (`None`: there is no cart yet).
    async fn save(&self, cart: &Cart, expected: Option<Version>) -> Result<Saved, StoreError>;
    /// Removes the cart of this customer, whatever is in it. Returns whether there was one.
    async fn erase(&self, user: &UserId) -> Result<bool, StoreError>;
    /// Whether the store answers: for a readiness probe.
    async fn is_up(&self) -> bool;
    /// What it does for callers that may have gone away: waited for when the service stops.
    fn transactions(&self) -> runtime::Tasks {
        runtime::Tasks::new()
    }
}

/// A store that does not let old carts go by itself.
#[async_trait]
pub trait OldCarts: Send + Sync {
    /// Drops some of the carts that nobody has changed for [`LIFETIME`](crate::domain::LIFETIME): by the clock of the store
    /// and by `now`, that of this machine, so that one that is wrong drops nothing. Those with holds stay. Returns how many went; 0
    /// when there are none left.
    async fn drop_some(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// What became of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    Done,
    /// The stored version is another one: nothing was written.
    Conflict,
}

/// Why a cache did not do it. It may do it later.
#[derive(Debug, thiserror::Error)]
#[error("the cache failed")]
pub struct CacheError(#[source] pub Source);

/// What a cache has of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cached {
    Cart(Arc<Cart>),
    /// No cart. Who loads it now can bring it with this ticket.
    Nothing(Ticket),
}

/// Names a gap in a cache, as long as it is there: a cache that was emptied or has made room does not know it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub Uuid);

/// Copies of carts, which may be gone at any time. What is older never takes the place of what is newer, nor of what was
/// newer and is gone: a cart is brought with a ticket that was taken before it was loaded, or before it was written.
#[async_trait]
pub trait CartCache: Send + Sync {
    async fn get(&self, user: &UserId) -> Result<Cached, CacheError>;
    /// Keeps the cart in the place of an older one, or in the gap that the ticket names. In any case nothing older than
    /// this cart is there afterwards.
    async fn put(&self, cart: Arc<Cart>, ticket: Ticket) -> Result<(), CacheError>;
    /// Leaves a gap in the place of what is older than `version`, which takes nothing older: done before that version is
    /// written.
    async fn invalidate(&self, user: &UserId, version: Version) -> Result<Ticket, CacheError>;
    /// Forgets that there is such a customer. Tickets of before are worth nothing afterwards.
    async fn forget(&self, user: &UserId) -> Result<(), CacheError>;
}

/// The catalogue.
#[async_trait]
pub trait Products: Send + Sync {
    async fn find(&self, product: ProductId) -> Found;
}

/// The catalogue's answer.
#[derive(Debug)]
pub enum Found {
    Offer(Offer),
    NotFound,
    /// It cannot be known now.
    Unknown(Source),
}
