//! The trait that the service needs.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::{Cursor, Page, StoreError};

use crate::domain::{CheckoutId, Notification, UserId};

/// The result of recording a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Created,
    /// The event was applied before, or the customer was erased.
    Skipped,
}

/// Notifications. Every method is one atomic unit.
#[async_trait]
pub trait NotificationStore: Send + Sync {
    /// Stores a notification together with the inbox row of its event. Skips a notification that exists: its inbox row
    /// may have been pruned.
    async fn record(&self, notification: &Notification, now: Timestamp) -> Result<Recorded, StoreError>;
    /// The user's notifications behind the cursor `after`, newest first.
    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Notification>, StoreError>;
    /// Deletes at most `limit` notifications of the user, and remembers that these checkouts get none later. Returns
    /// the number deleted.
    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError>;
    /// For the readiness probe.
    async fn is_up(&self) -> bool;
    /// Transactions whose callers may have gone away; the service's stop waits for them.
    fn transactions(&self) -> runtime::Tasks;
}
