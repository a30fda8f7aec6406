//! Adapters of the journal.

pub mod sqlite;
