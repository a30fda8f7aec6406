//! The inbox: the ids of the events that a group has applied, in the store that holds their effects.

pub mod postgres;
mod pruner;
pub mod sqlite;

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;
use uuid::Uuid;

pub use pruner::{InboxPruner, PruneError};

/// The pruner's view of an inbox.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Removes entries of events that the group applied before this time, without the events in `except`, at most 1,000
    /// per call; returns how many.
    async fn prune(&self, group: &str, before: Timestamp, except: &[Uuid]) -> Result<u64, StoreError>;
}
