//! The outbox: events to publish, written in the transaction of the change that they announce.

pub mod postgres;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use storage::StoreError;

use crate::Message;

/// The fencing token of the lease. Each new holder raises it, so writes of an earlier holder are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub i64);

/// An unpublished row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    pub seq: i64,
    pub topic: String,
    pub message: Message,
}

/// The relay's view of an outbox.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Acquires or extends the lease on publishing; `None` while another owner holds it.
    async fn acquire(&self, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError>;
    /// The oldest unpublished rows, in order, without those of the topics in `except`.
    async fn pending(&self, limit: u32, except: &[&str]) -> Result<Vec<OutboxRow>, StoreError>;
    /// Marks rows as published and extends the lease; `Conflict` if another owner has acquired the lease.
    async fn mark_published(&self, fence: Fence, ttl: Duration, rows: &[i64]) -> Result<(), StoreError>;
    /// Removes rows that were published at least `retention` ago, at most 1,000 per call; returns how many.
    async fn prune(&self, retention: Duration) -> Result<u64, StoreError>;
}
