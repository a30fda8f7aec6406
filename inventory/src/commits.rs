//! The names of this service's commits, the same in every adapter.

pub const RESERVE: &str = "inventory.reserve";
pub const CONFIRM: &str = "inventory.confirm";
pub const RELEASE: &str = "inventory.release";
pub const EXPIRE: &str = "inventory.expire";
pub const ADD_STOCK: &str = "inventory.add_stock";

/// The labels that the crash suite must cover.
pub const ALL: &[&str] = &[RESERVE, CONFIRM, RELEASE, EXPIRE, ADD_STOCK];
