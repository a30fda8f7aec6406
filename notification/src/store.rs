//! Adapters of the notifications' port.

mod sqlite;

pub use sqlite::SqliteNotificationStore;
