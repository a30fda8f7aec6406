//! Tests of the catalogue: its port over all adapters, and its interface over a real client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod catalogue;
mod indexes;
