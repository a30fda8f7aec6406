//! The settings of the notifications.

use std::path::PathBuf;

/// What the service needs to be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
}

/// Where notifications are kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// The service's own SQLite file.
    Sqlite(PathBuf),
}
