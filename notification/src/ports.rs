//! What the notifications need of the world.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::{Cursor, Page, StoreError};

use crate::domain::{CheckoutId, Notification, UserId};

/// What became of a notification that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is there now, for the first time.
    Now,
    /// Its event was applied before, or its customer was erased: nobody was told.
    Before,
}

/// Notifications. Every method is one atomic unit.
#[async_trait]
pub trait NotificationStore: Send + Sync {
    /// Keeps a notification, and the note that its event was applied.
    async fn tell(&self, notification: &Notification, now: Timestamp) -> Result<Told, StoreError>;
    /// Notifications of this user, newest first, from behind `after`.
    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Notification>, StoreError>;
    /// Removes at most `limit` of what this user was told, and keeps in mind that nobody is told of these checkouts any more.
    /// Returns how many were removed.
    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError>;
    /// Whether the store answers: for a readiness probe.
    async fn is_up(&self) -> bool;
    /// What it does for callers that may have gone away: waited for when the service stops.
    fn transactions(&self) -> runtime::Tasks {
        runtime::Tasks::new()
    }
}
