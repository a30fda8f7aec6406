//! Tests of checkout: its tables on both engines, its saga over participants that remember and fail, and its interface
//! through a real client.
//!
//! What they share: `harness` is checkout in this process, `world` the participants it calls and what goes wrong with the calls,
//! `ledger` the books in which the participants write what they did.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod erasure;
mod events;
mod faults;
mod harness;
mod journal;
mod keys;
mod ledger;
mod patience;
mod purchases;
mod recovery;
mod world;
