//! The inbox: which events a group has applied, in the store that it applies them to.

mod keeper;
pub mod postgres;
pub mod sqlite;

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;
use uuid::Uuid;

pub use keeper::{InboxKeeper, KeeperError};

/// The notes of an inbox, for who removes those that are not needed any more.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Removes notes of what this group has applied before this time, at most a thousand at once, but for those of these
    /// events; returns how many.
    async fn prune(&self, group: &str, before: Timestamp, except: &[Uuid]) -> Result<u64, StoreError>;
}
