//! The port of the inventory.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;

use crate::domain::{CheckoutId, Delivery, KeyReused, Lines, ProductId, Refusal, Stock};

/// Stock and its reservations. Every method is one atomic unit. The store's clock decides when a reservation is due. A
/// due reservation expires by [`Self::expire`], or when another reservation needs its stock.
#[async_trait]
pub trait StockStore: Send + Sync {
    /// The stock of these known products, or of all for `None`, in product order. At most `limit`.
    async fn stock(&self, products: Option<&[ProductId]>, limit: u32) -> Result<Vec<Stock>, StoreError>;

    /// Reserves all lines for `ttl`, or none. Returns when the reservation expires.
    async fn reserve(
        &self,
        checkout: CheckoutId,
        lines: &Lines,
        ttl: Duration,
    ) -> Result<Result<Timestamp, Refusal>, StoreError>;

    /// Turns the reservation into a sale.
    async fn confirm(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError>;

    /// Returns the reserved stock.
    async fn release(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError>;

    /// Expires due reservations, the oldest first, at most `limit`. Returns how many.
    async fn expire(&self, limit: u32) -> Result<u32, StoreError>;

    /// Adds received goods. Returns the stock of the product after that.
    async fn receive(&self, delivery: &Delivery) -> Result<Result<Stock, KeyReused>, StoreError>;

    /// Transactions that outlive a cancelled caller. The service waits for them when it stops.
    fn transactions(&self) -> runtime::Tasks;
}
