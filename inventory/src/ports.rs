//! What the inventory needs.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;

use crate::domain::{CheckoutId, Delivery, KeyReused, Lines, ProductId, Refusal, Stock};

/// Stock and the reservations on it, which are only true together. Every method is one atomic unit, and whether a hold has
/// run out is decided by the store's own clock.
#[async_trait]
pub trait StockStore: Send + Sync {
    /// Stock of these products, those that have any record, in product order; `None` asks for all. At most `limit`.
    async fn stock(&self, products: Option<&[ProductId]>, limit: u32) -> Result<Vec<Stock>, StoreError>;

    /// Holds all lines for `ttl`, or none; says until when.
    async fn reserve(
        &self,
        checkout: CheckoutId,
        lines: &Lines,
        ttl: Duration,
    ) -> Result<Result<Timestamp, Refusal>, StoreError>;

    /// Turns the hold into a sale.
    async fn confirm(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError>;

    /// Gives the hold back.
    async fn release(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError>;

    /// Gives back holds that have run out, the oldest first, at most `limit`; says how many.
    async fn expire(&self, limit: u32) -> Result<u32, StoreError>;

    /// Adds goods received; says what there was of the product then.
    async fn receive(&self, delivery: &Delivery) -> Result<Result<Stock, KeyReused>, StoreError>;

    /// What it does for callers that may have gone away: waited for when the service stops.
    fn transactions(&self) -> runtime::Tasks {
        runtime::Tasks::new()
    }
}
