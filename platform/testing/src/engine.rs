//! Where the engines are, names that no other test uses, and plain words when a test is skipped.

use std::{io::Write, path::PathBuf};

use uuid::Uuid;

/// An engine that a test may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    PostgreSql,
    MongoDb,
    Redis,
    Kafka,
}

impl Engine {
    pub const ALL: [Self; 4] = [Self::PostgreSql, Self::MongoDb, Self::Redis, Self::Kafka];

    /// The variable that says where it is: the one that the shop reads, too.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::PostgreSql => "DATABASE_URL",
            Self::MongoDb => "MONGO_URI",
            Self::Redis => "REDIS_ADDR",
            Self::Kafka => "KAFKA_BROKERS",
        }
    }

    /// Where it is; `None` when nobody said so: then the test says on standard error that it is skipped and why, and
    /// returns. With `CARTWRIGHT_TEST_REQUIRE_ENGINES=1` a missing engine fails the test.
    ///
    /// # Panics
    /// When the engine is required and its address is not set.
    pub fn address(self) -> Option<String> {
        told(self.variable())
    }
}

/// Where the engines that `deployments/local` has started describe their second way in, by TLS and with a login. `None`, and
/// a panic, as for [`Engine::address`].
///
/// # Panics
/// When engines are required and nobody said where that is.
pub fn tls_dir() -> Option<PathBuf> {
    told("CARTWRIGHT_TEST_TLS_DIR").map(PathBuf::from)
}

fn told(name: &str) -> Option<String> {
    let value = variable(name);
    if value.is_none() {
        assert!(
            variable("CARTWRIGHT_TEST_REQUIRE_ENGINES").is_none_or(|value| value != "1"),
            "{name} is not set, and CARTWRIGHT_TEST_REQUIRE_ENGINES=1 requires it; `deployments/local/up` starts the engines"
        );
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not by `eprintln!`, which the test harness swallows for tests that pass. Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {name} is not set");
    }
    value
}

#[allow(
    clippy::disallowed_methods,
    reason = "where engines are is told to tests as it is told to the shop"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A name that nobody else uses, fit for schemas, databases, topics and keys: `test_` and 32 digits.
#[allow(clippy::disallowed_methods, reason = "no test needs to hold these names still")]
pub fn unique_name() -> String {
    format!("test_{}", Uuid::now_v7().simple())
}
