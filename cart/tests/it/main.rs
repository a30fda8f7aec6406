//! Contracts of the ports, the use cases, and the service over gRPC and the event bus.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod bad_input;
mod cache_contract;
mod calls;
mod consumer;
mod expiry;
mod fixtures;
mod freshness;
mod mongo_store;
mod network;
mod purchases;
mod redis_cache;
mod store_contract;
mod support;
mod use_cases;
