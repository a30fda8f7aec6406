//! Tests of the gateway over fake services, and over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod attacks;
mod cart;
mod checkout;
mod errors;
mod extension_members;
mod fakes;
mod limits;
mod orders;
mod preconditions;
mod products;
mod requests;
mod serving;
mod shop;
mod tokens;
