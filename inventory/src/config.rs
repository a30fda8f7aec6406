//! The settings of the inventory.

use std::time::Duration;

/// Where the tables are.
pub use storage::Database as Store;

/// What the service needs to be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    /// How long stock is held that is not confirmed.
    pub reservation_ttl: Duration,
}
