//! Tests of the ports over all of their adapters, and of the relay and the consumer on top of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bus;
mod consumer;
mod dead_letters;
mod outbox;
mod relay;
mod support;

/// Every case over every adapter, each with a fixture of its own. A port's cases are listed once, so that no adapter can
/// skip one.
macro_rules! contract {
    ($adapter:ident: $fixture:ident => $($case:ident),+ $(,)?) => {
        mod $adapter {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&$fixture::new().await).await; })+
        }
    };
}
pub(crate) use contract;
