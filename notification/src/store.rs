//! Adapters of [`crate::ports::NotificationStore`].

mod postgres;
mod row;
mod sqlite;

pub use postgres::PostgresNotificationStore;
pub use sqlite::SqliteNotificationStore;
