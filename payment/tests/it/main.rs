//! Tests of the payment service: contracts of its ports, use cases with faults, its gRPC interface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod api;
mod faults;
mod fixtures;
mod harness;
mod indexes;
mod latency;
mod ledger_audit;
mod ledger_contract;
mod lost_connections;
mod methods;
mod model;
mod races;
mod recovery;
mod store_contract;
