//! The ports of the cart service.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;
use uuid::Uuid;

use crate::domain::{Cart, Offer, ProductId, UserId, Version};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Carts, one document for each customer. Every method is one atomic unit.
#[async_trait]
pub trait CartStore: Send + Sync {
    async fn load(&self, user: &UserId) -> Result<Option<Cart>, StoreError>;
    /// Saves if the stored version is still `expected` (`None`: there is no cart yet).
    async fn save(&self, cart: &Cart, expected: Option<Version>) -> Result<Saved, StoreError>;
    /// Deletes the cart of this customer, holds included. Returns whether there was a cart.
    async fn erase(&self, user: &UserId) -> Result<bool, StoreError>;
    /// Whether the store answers: for a readiness probe.
    async fn is_up(&self) -> bool;
    /// Transactions that outlive a cancelled caller. The service waits for them when it stops.
    fn transactions(&self) -> runtime::Tasks;
}

/// A store without a TTL of its own.
#[async_trait]
pub trait CartExpiry: Send + Sync {
    /// Deletes some of the carts without holds that were not changed for [`CART_TTL`](crate::domain::CART_TTL). A cart
    /// must be expired by the store's clock and by `now`, this machine's, so that one wrong clock deletes nothing.
    /// Returns how many were deleted; 0 when none is left.
    async fn delete_expired_batch(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// The outcome of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    Done,
    /// The store has another version. Nothing was written.
    Conflict,
}

#[derive(Debug, thiserror::Error)]
#[error("the cache failed")]
pub struct CacheError(#[source] pub Source);

/// A customer's entry in a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cached {
    Cart(Arc<Cart>),
    /// A tombstone. A reader that loads the cart may replace it with this token.
    Missing(FillToken),
}

/// The right to replace one tombstone in a cache with a cart, like the leases of "Scaling Memcache at Facebook"
/// (NSDI 2013). A flush or an eviction removes the tombstone, and its token is invalid from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillToken(pub Uuid);

/// Cached carts, which may be evicted at any time. An older cart never replaces a newer one, even if the newer one was
/// evicted: a cart is put with a token that was taken before the cart was loaded or written.
#[async_trait]
pub trait CartCache: Send + Sync {
    async fn get(&self, user: &UserId) -> Result<Cached, CacheError>;
    /// Replaces an older cart, or the tombstone of this token. Afterwards the entry is never older than this cart.
    async fn put(&self, cart: Arc<Cart>, token: FillToken) -> Result<(), CacheError>;
    /// Replaces a cart older than `version` by a tombstone that accepts no older version. Called before that version is
    /// written to the store.
    async fn invalidate(&self, user: &UserId, version: Version) -> Result<FillToken, CacheError>;
    /// Removes the customer's entry. Earlier tokens are invalid afterwards.
    async fn forget(&self, user: &UserId) -> Result<(), CacheError>;
}

#[async_trait]
pub trait Products: Send + Sync {
    async fn find(&self, product: ProductId) -> ProductLookup;
}

/// The catalogue's answer.
#[derive(Debug)]
pub enum ProductLookup {
    Found(Offer),
    NotFound,
    /// The catalogue gave no usable answer.
    Unknown(Source),
}
