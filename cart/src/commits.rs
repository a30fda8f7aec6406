//! The names of this service's commits, the same in every adapter.

pub const SAVE: &str = "cart.save";
pub const ERASE: &str = "cart.erase";
pub const EXPIRE: &str = "cart.expire";

/// What every shop commits.
pub const ALL: &[&str] = &[SAVE, ERASE];

/// What only the adapter for SQLite commits: MongoDB drops old carts by itself.
pub const SQLITE: &[&str] = &[EXPIRE];
