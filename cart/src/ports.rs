//! What carts need of the world.

use std::sync::Arc;

use async_trait::async_trait;
use storage::StoreError;

use crate::domain::{Cart, Offer, ProductId, UserId, Version};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Carts, one document each. Every method is one atomic unit.
#[async_trait]
pub trait CartStore: Send + Sync {
    async fn load(&self, user: &UserId) -> Result<Option<Cart>, StoreError>;
    /// Saves if the stored version is still `expected` (`None`: there is no cart yet).
    async fn save(&self, cart: &Cart, expected: Option<Version>) -> Result<Saved, StoreError>;
    /// Whether the store answers: for a readiness probe.
    async fn is_up(&self) -> bool;
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

/// Copies of carts, which may be gone at any time. What is older never takes the place of what is newer.
#[async_trait]
pub trait CartCache: Send + Sync {
    async fn get(&self, user: &UserId) -> Result<Option<Arc<Cart>>, CacheError>;
    /// Keeps the cart, unless a newer one, or one of the same version, is there.
    async fn put(&self, cart: Arc<Cart>) -> Result<(), CacheError>;
    /// Forgets what is older than `version`, and takes nothing older from here on.
    async fn invalidate(&self, user: &UserId, version: Version) -> Result<(), CacheError>;
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
