//! Calls between services in memory and over TCP, with faults.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

mod calls;
mod hostile;
mod lifecycle;
mod server;
