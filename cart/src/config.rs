//! The settings of the service.

use std::{fmt, path::PathBuf, time::Duration};

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    pub cache: Cache,
    /// How long a cart stays in the cache. A random part of up to a third, at most five minutes, is added.
    pub cache_ttl: Duration,
}

/// The engine that stores carts.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file, created if missing.
    Sqlite(PathBuf),
    Mongo {
        /// `mongodb://…` or `mongodb+srv://…`; a secret because it may contain a password.
        uri: Secret,
        database: String,
    },
}

/// The engine of the cache.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In this process.
    Memory,
    /// Shared by all processes with the same address and prefix.
    Redis {
        endpoint: RedisEndpoint,
        /// The prefix of every key.
        prefix: String,
    },
}

/// The address of Redis, the login and the transport.
#[derive(Debug, Clone)]
pub struct RedisEndpoint {
    /// `host:port`.
    pub address: String,
    /// A user of Redis' ACL; `None` for the default user. Used with a password only.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub tls: RedisTls,
}

impl RedisEndpoint {
    /// Without login and without TLS.
    pub fn plaintext(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            user: None,
            password: None,
            tls: RedisTls::Off,
        }
    }
}

#[derive(Debug, Clone)]
pub enum RedisTls {
    Off,
    On {
        /// The CA certificates (PEM); `None` for those of the system.
        ca_file: Option<PathBuf>,
    },
}

/// A text that is redacted in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
