//! Black-box suites over the public interfaces of the whole shop.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod api;
mod bad_input;
mod command;
mod crash;
mod expiry;
mod idempotency;
mod kill;
mod oversell;
mod redelivery;
mod split;
mod tidy;
mod unknown;
