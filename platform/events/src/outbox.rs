//! The outbox: events that wait for publication, written in the transaction of the change that they tell of.

pub mod postgres;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use storage::StoreError;

use crate::Message;

/// Rises with every new holder of a lease: what an older holder still does is told from what the present one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub i64);

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub seq: i64,
    pub topic: String,
    pub message: Message,
}

/// What a relay needs of an outbox.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Takes or extends the lease on publishing; `None` while somebody else holds it.
    async fn acquire(&self, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError>;
    /// The oldest rows that are not published, in order, but for those of these topics.
    async fn pending(&self, limit: u32, except: &[&str]) -> Result<Vec<Pending>, StoreError>;
    /// Marks rows as published and extends the lease; `Conflict` when that has gone to somebody else.
    async fn mark_published(&self, fence: Fence, ttl: Duration, rows: &[i64]) -> Result<(), StoreError>;
    /// Removes rows that were published `retention` ago or earlier, at most a thousand at once; returns how many.
    async fn prune(&self, retention: Duration) -> Result<u64, StoreError>;
}
