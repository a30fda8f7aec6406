//! The names of this service's commits, the same in every adapter.

pub const UPSERT: &str = "product.upsert";
/// The names of products that a process of an earlier version wrote are made ready for searches.
pub const FOLD: &str = "product.fold";

/// What every shop commits.
pub const ALL: &[&str] = &[UPSERT, FOLD];
