//! The names of this service's commits, the same in every adapter.

pub const RECORD: &str = "orders.record";
pub const ERASE: &str = "orders.erase";

/// The labels that the crash suite must cover.
pub const ALL: &[&str] = &[RECORD, ERASE];
