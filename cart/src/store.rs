//! Where carts are kept.

mod mongo;
mod sqlite;

pub use mongo::MongoCartStore;
pub use sqlite::SqliteCartStore;
