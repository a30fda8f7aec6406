//! Tests of the catalogue: the contract of its port, and its gRPC interface.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod catalogue;
mod indexes;
