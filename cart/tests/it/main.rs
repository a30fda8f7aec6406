//! Contracts of the ports over every adapter, the use cases, and the service as its clients and the event bus see it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod bad_input;
mod cache_contract;
mod calls;
mod consumer;
mod freshness;
mod mongo_store;
mod network;
mod old_carts;
mod places;
mod purchases;
mod redis_cache;
mod store_contract;
mod support;
mod use_cases;
