//! The settings of the service.

pub use storage::Database as Store;

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
}
