//! Tests of the orders: the port over all adapters, the events that come in, and the interface over a real client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod cuts;
mod handler;
mod indexes;
mod store;
mod support;
