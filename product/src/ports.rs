//! What the catalogue needs.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::{BoundedError, StoreError};

use crate::domain::{Details, Product, ProductId, Query};

/// All products. Every method is one atomic unit.
#[async_trait]
pub trait Catalogue: Send + Sync {
    /// The first `limit` products that match, in order of their ids, those up to `after` left out. Looking for words is bounded:
    /// it never keeps the other methods waiting.
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, BoundedError>;

    /// Those of `ids` that exist, in order of their ids.
    async fn find(&self, ids: &[ProductId]) -> Result<Vec<Product>, StoreError>;

    /// Makes or replaces a product; without an `id` it gets a new one. What is replaced keeps its `created_at`, what is
    /// made was created at `now`.
    async fn put(&self, id: Option<ProductId>, details: &Details, now: Timestamp) -> Result<Product, StoreError>;

    /// What it does for callers that may have gone away: waited for when the service stops.
    fn transactions(&self) -> runtime::Tasks {
        runtime::Tasks::new()
    }
}
