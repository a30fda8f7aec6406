//! What the notifications need of the world.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::{Cursor, Page, StoreError};

use crate::domain::{Notification, UserId};

/// What became of a notification that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is there now, for the first time.
    Now,
    /// Its event was applied before: nothing was changed.
    Before,
}

/// Notifications. Every method is one atomic unit.
#[async_trait]
pub trait NotificationStore: Send + Sync {
    /// Keeps a notification, and the note that its event was applied.
    async fn tell(&self, notification: &Notification, now: Timestamp) -> Result<Told, StoreError>;
    /// Notifications of this user, newest first, from behind `after`.
    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Notification>, StoreError>;
    /// Whether the store answers: for a readiness probe.
    async fn is_up(&self) -> bool;
}
