//! The payment service from its ports to its interface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod api;
mod books;
mod cuts;
mod faults;
mod harness;
mod indexes;
mod latency;
mod ledger_contract;
mod methods;
mod model;
mod places;
mod races;
mod recovery;
mod store_contract;
