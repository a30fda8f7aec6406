//! Tests of the notification service: the port over all adapters, the event handler, the gRPC interface.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod handler;
mod indexes;
mod store;
mod support;
