//! The names of this service's commits, the same in every adapter.

pub const RECORD: &str = "orders.record";
pub const ERASE: &str = "orders.erase";

/// What every shop commits.
pub const ALL: &[&str] = &[RECORD, ERASE];
