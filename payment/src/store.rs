//! Where payments are kept.

mod postgres;
mod row;
mod sqlite;

pub use postgres::PostgresPaymentStore;
pub use sqlite::SqlitePaymentStore;
