//! Shared by the test suites: addresses of engines, isolated fixtures on each engine, contract suites for the adapters
//! of a port, and services in the process of a test.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests and their fixtures fail by panicking"
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
pub use serve::{DEADLINE, GrpcContract, serve, test_policy};
#[cfg(feature = "sql")]
pub use sqlite::SqliteFixture;
