//! Tests of checkout: its tables on both engines, its saga over fake peers with faults, and its gRPC interface.
//!
//! Shared: `harness` runs the use cases without databases, `fake_peers` are the services that checkout calls, with a
//! script of faults and a ledger of what they did. `sagas` has sample sagas.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod cancellation;
mod erasure;
mod events;
mod fake_peers;
mod faults;
mod harness;
mod journal;
mod keys;
mod purchases;
mod recovery;
mod sagas;
