//! Adapters of the store port.

mod mongo;
mod sqlite;

pub use mongo::{MongoCartStore, check_mongo_uri};
pub use sqlite::SqliteCartStore;
