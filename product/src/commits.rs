//! The names of this service's commits, the same in every adapter.

pub const UPSERT: &str = "product.upsert";
/// The backfill of `search_marked`.
pub const BACKFILL: &str = "product.fold";

/// The labels that the crash suite must cover.
pub const ALL: &[&str] = &[UPSERT, BACKFILL];
