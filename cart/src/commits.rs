//! The names of this service's commits, the same in every adapter.

pub const SAVE: &str = "cart.save";
pub const ERASE: &str = "cart.erase";
pub const EXPIRE: &str = "cart.expire";

/// The labels that the crash suite must cover.
pub const ALL: &[&str] = &[SAVE, ERASE];

/// The labels that the crash suite must cover on SQLite only. MongoDB expires carts by its TTL index; where the server
/// has no such index, the service expires them under the same label.
pub const SQLITE: &[&str] = &[EXPIRE];
