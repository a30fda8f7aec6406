//! Where carts are kept.

mod document;
mod sqlite;

pub use sqlite::SqliteCartStore;
