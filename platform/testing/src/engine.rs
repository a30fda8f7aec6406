//! Addresses of engines, and unique names on them.

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

    /// The environment variable with the address. The shop reads the same one.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::PostgreSql => "DATABASE_URL",
            Self::MongoDb => "MONGO_URI",
            Self::Redis => "REDIS_ADDR",
            Self::Kafka => "KAFKA_BROKERS",
        }
    }

    /// The address of the engine. If it is not set, reports on standard error that the test is skipped.
    ///
    /// # Panics
    /// If the address is not set and `CARTWRIGHT_TEST_REQUIRE_ENGINES=1`.
    pub fn address(self) -> Option<String> {
        setting(self.variable())
    }
}

/// The directory where `deployments/local` describes the listeners with TLS and login; `None` as for
/// [`Engine::address`].
///
/// # Panics
/// If the directory is not set and `CARTWRIGHT_TEST_REQUIRE_ENGINES=1`.
pub fn tls_dir() -> Option<PathBuf> {
    setting("CARTWRIGHT_TEST_TLS_DIR").map(PathBuf::from)
}

fn setting(name: &str) -> Option<String> {
    let value = variable(name);
    if value.is_none() {
        assert!(
            variable("CARTWRIGHT_TEST_REQUIRE_ENGINES").is_none_or(|value| value != "1"),
            "{name} is not set, and CARTWRIGHT_TEST_REQUIRE_ENGINES=1 requires it; `deployments/local/up` starts the engines"
        );
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not by `eprintln!`, which the test harness captures, and drops when the test passes. Ignores a closed stderr.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {name} is not set");
    }
    value
}

#[allow(
    clippy::disallowed_methods,
    reason = "tests read the addresses of engines from the same variables as the shop"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A unique name for a schema, a database, topics or keys: `test_` and 32 hexadecimal digits.
#[allow(clippy::disallowed_methods, reason = "no test depends on the value of these names")]
pub fn unique_name() -> String {
    format!("test_{}", Uuid::now_v7().simple())
}
