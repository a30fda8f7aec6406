//! The trait that the service needs.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::{Cursor, Page, StoreError};
use uuid::Uuid;

use crate::domain::{CheckoutId, Order, OrderId, UserId};

/// The result of recording an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Created,
    /// The event was applied before, or the checkout has its order already. No order was changed.
    Duplicate,
    /// The order of another checkout has this id. Nothing was changed.
    IdTaken,
}

/// Orders. Every method is one atomic unit.
#[async_trait]
pub trait OrderStore: Send + Sync {
    /// Stores an order and the inbox row of its event. The user of an erased checkout's order is [`UserId::erased`].
    async fn record(&self, order: &Order, event: Uuid, now: Timestamp) -> Result<Recorded, StoreError>;
    /// One order of this user.
    async fn find(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, StoreError>;
    /// The user's orders behind the cursor `after`, newest first.
    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Order>, StoreError>;
    /// Replaces the user of at most `limit` orders by [`UserId::erased`], and remembers these checkouts for orders that
    /// arrive later. Returns the number of orders changed.
    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError>;
    /// For the readiness probe.
    async fn is_up(&self) -> bool;
    /// Transactions whose callers may have gone away; the service's stop waits for them.
    fn transactions(&self) -> runtime::Tasks;
}
