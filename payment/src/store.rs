//! Where payments are kept.

mod sqlite;

pub use sqlite::SqlitePaymentStore;
