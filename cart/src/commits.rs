//! The names of this service's commits, the same in every adapter.

pub const SAVE: &str = "cart.save";
pub const ERASE: &str = "cart.erase";
pub const EXPIRE: &str = "cart.expire";

/// Commits of every shop.
pub const ALL: &[&str] = &[SAVE, ERASE];

/// Commits of SQLite only: MongoDB expires carts by itself.
pub const SQLITE: &[&str] = &[EXPIRE];
