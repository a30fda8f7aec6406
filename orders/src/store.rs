//! Adapters of the orders' port.

mod head;
mod postgres;
mod sqlite;

pub use postgres::PostgresOrderStore;
pub use sqlite::SqliteOrderStore;
