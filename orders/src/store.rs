//! Adapters of [`crate::ports::OrderStore`].

mod header;
mod postgres;
mod sqlite;

pub use postgres::PostgresOrderStore;
pub use sqlite::SqliteOrderStore;
