//! Where payments are kept.

mod postgres;
pub(crate) mod row;
mod sqlite;

pub use postgres::PostgresPaymentStore;
pub use sqlite::SqlitePaymentStore;
