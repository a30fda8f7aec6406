//! The settings of the catalogue.

pub use storage::Database as Store;

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
}
