//! Calls between services as they really are: over memory and over TCP, with what can go wrong with them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

mod calls;
mod hostile;
mod lifecycle;
mod server;
