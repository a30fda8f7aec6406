//! The settings of the catalogue.

/// Where the tables are.
pub use storage::Database as Store;

/// What the service needs to be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
}
