//! The port of the catalogue.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::{BoundedError, StoreError};

use crate::domain::{Details, Product, ProductId, Query};

/// All products. Every method is one atomic unit.
#[async_trait]
pub trait Catalogue: Send + Sync {
    /// The first `limit` matches after `after`, in id order. Bounded, so that other methods never wait for pages.
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, BoundedError>;

    /// The products of these ids that exist, in id order.
    async fn find(&self, ids: &[ProductId]) -> Result<Vec<Product>, StoreError>;

    /// Inserts or replaces a product. `None` inserts under a new id. A replaced product keeps its `created_at`.
    async fn put(&self, id: Option<ProductId>, details: &Details, now: Timestamp) -> Result<Product, StoreError>;

    /// Transactions that outlive a cancelled caller. The service waits for them when it stops.
    fn transactions(&self) -> runtime::Tasks;
}
