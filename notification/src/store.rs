//! Adapters of the notifications' port.

mod postgres;
mod sqlite;

pub use postgres::PostgresNotificationStore;
pub use sqlite::SqliteNotificationStore;
