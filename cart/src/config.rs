//! The settings of the service.

use std::{path::PathBuf, time::Duration};

/// Where carts are kept and how long copies of them are.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    pub cache: Cache,
    /// How long a cart stays in the cache; up to a third of it, at most five minutes, is added at random.
    pub cache_ttl: Duration,
}

/// The engine of the carts.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file, made if it is not there.
    Sqlite(PathBuf),
}

/// The engine of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// In this process.
    Memory,
}
