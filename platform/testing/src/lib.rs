//! What the test suites have in common: where the engines are, a place of a test's own on each of them, one contract for
//! all adapters of a port, and services that are served in the process of the test.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking, in its helpers too"
)]

mod contract;
mod engine;
mod fixture;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mongo")]
mod mongo;
#[cfg(feature = "sql")]
pub mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "sql")]
mod sqlite;

pub use engine::{Engine, tls_dir, unique_name};
pub use fixture::{Fixture, MemoryFixture};
#[cfg(feature = "kafka")]
pub use kafka::KafkaFixture;
#[cfg(feature = "mongo")]
pub use mongo::MongoFixture;
#[cfg(feature = "sql")]
pub use postgres::{PostgresDatabase, PostgresFixture};
#[cfg(feature = "redis")]
pub use redis::RedisFixture;
#[cfg(feature = "serve")]
pub use serve::{Interface, PATIENCE, patient, serve};
#[cfg(feature = "sql")]
pub use sqlite::SqliteFixture;
