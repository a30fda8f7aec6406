//! The names of this service's commits, the same in every adapter.

pub const TELL: &str = "notification.tell";
pub const ERASE: &str = "notification.erase";

/// All labels: the crash suite covers each.
pub const ALL: &[&str] = &[TELL, ERASE];
