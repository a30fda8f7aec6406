//! Adapters of the orders' port.

mod sqlite;

pub use sqlite::SqliteOrderStore;
