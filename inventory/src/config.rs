//! The settings of the inventory.

use std::time::Duration;

pub use storage::Database as Store;

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    /// How long unconfirmed stock stays reserved.
    pub reservation_ttl: Duration,
}
