//! The names of this service's commits, the same in every adapter.

pub const UPSERT: &str = "product.upsert";
/// The backfill of `search_marked`.
pub const FOLD: &str = "product.fold";

/// Commits of every shop.
pub const ALL: &[&str] = &[UPSERT, FOLD];
