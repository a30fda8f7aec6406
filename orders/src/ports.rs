//! What the orders need of the world.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::{Cursor, Page, StoreError};
use uuid::Uuid;

use crate::domain::{CheckoutId, Order, OrderId, UserId};

/// What became of an order that was to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is there now, for the first time.
    Created,
    /// The event was applied before, or its checkout has its order: no order was changed.
    Known,
    /// Its id is that of another checkout's order: nothing was changed.
    IdTaken,
}

/// Orders. Every method is one atomic unit.
#[async_trait]
pub trait OrderStore: Send + Sync {
    /// Keeps an order, and the note that this event was applied. The order of an erased checkout is nobody's.
    async fn record(&self, order: &Order, event: Uuid, now: Timestamp) -> Result<Recorded, StoreError>;
    /// One order of this user.
    async fn find(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, StoreError>;
    /// Orders of this user, newest first, from behind `after`.
    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Order>, StoreError>;
    /// Makes at most `limit` orders of this user nobody's ([`UserId::erased`]), and keeps in mind that those of these checkouts
    /// will be. Returns how many were this user's.
    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError>;
    /// Whether the store answers: for a readiness probe.
    async fn is_up(&self) -> bool;
    /// What it does for callers that may have gone away: waited for when the service stops.
    fn transactions(&self) -> runtime::Tasks {
        runtime::Tasks::new()
    }
}
