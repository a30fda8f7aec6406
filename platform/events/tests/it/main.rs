//! The contracts of the ports on all adapters, and the relay and the consumer on top of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bus;
mod buses;
mod codecs;
mod consumer;
mod damage;
mod dead_letters;
mod inbox;
mod kafka;
mod leader;
mod outbox;
mod relay;
mod retention;
mod signed;
mod stalled;
mod support;
mod unreadable;
