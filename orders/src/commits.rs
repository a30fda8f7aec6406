//! The names of this service's commits, the same in every adapter.

pub const RECORD: &str = "orders.record";
pub const ERASE: &str = "orders.erase";

/// All labels: the crash suite covers each.
pub const ALL: &[&str] = &[RECORD, ERASE];
