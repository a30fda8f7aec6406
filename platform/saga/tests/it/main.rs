//! Tests of the engine, on a toy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod engine;
mod toy;
