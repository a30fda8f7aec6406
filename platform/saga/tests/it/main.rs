//! The suites of sagas, run on the smallest machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod exhausted;
mod service_rows;
mod toy;
