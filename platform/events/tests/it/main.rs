//! Tests of the ports over all of their adapters, and of the relay and the consumer on top of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bus;
mod codecs;
mod consumer;
mod damage;
mod dead_letters;
mod fixtures;
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

/// Every case over every adapter, each with a fixture of its own. A port's cases are listed once, so that no adapter can
/// skip one. A fixture whose engine is not there says so and gives nothing.
macro_rules! contract {
    ($adapter:ident: $fixture:ident => $($case:ident),+ $(,)?) => {
        mod $adapter {
            use super::*;
            $(#[tokio::test] async fn $case() {
                if let Some(fixture) = $fixture::new().await {
                    super::$case(&fixture).await;
                }
            })+
        }
    };
}
pub(crate) use contract;
