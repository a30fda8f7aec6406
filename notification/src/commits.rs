//! The names of this service's commits, the same in every adapter.

pub const TELL: &str = "notification.tell";
pub const ERASE: &str = "notification.erase";

/// What every shop commits.
pub const ALL: &[&str] = &[TELL, ERASE];
