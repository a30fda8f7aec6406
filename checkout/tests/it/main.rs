//! Tests of checkout: its tables on both engines, its saga over participants that remember and fail, and its interface
//! through a real client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod bench;
mod carts;
mod erasure;
mod events;
mod faults;
mod journal;
mod keys;
mod ledger;
mod patience;
mod purchases;
mod recovery;
mod world;
