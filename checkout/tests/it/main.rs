//! Tests of checkout: its journal over all adapters, its saga over participants that remember and fail, and its interface
//! through a real client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod bench;
mod carts;
mod erasure;
mod events;
mod faults;
mod journal_contract;
mod keys;
mod ledger;
mod memory;
mod patience;
mod purchases;
mod recovery;
mod world;
