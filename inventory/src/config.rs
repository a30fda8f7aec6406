//! The settings of the inventory.

use std::{path::PathBuf, time::Duration};

/// What the service needs to be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    /// How long stock is held that is not confirmed.
    pub reservation_ttl: Duration,
}

/// Where stock is kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// The service's own SQLite file.
    Sqlite(PathBuf),
}
