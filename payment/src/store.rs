//! Adapters of [`crate::ports::PaymentStore`].

mod postgres;
pub(crate) mod row;
mod sqlite;

pub use postgres::PostgresPaymentStore;
pub use sqlite::SqlitePaymentStore;
