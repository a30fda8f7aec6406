//! The settings of the service.

use std::{fmt, path::PathBuf, time::Duration};

/// Where carts are kept and how long copies of them are.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    pub cache: Cache,
    /// How long a cart stays in the cache; up to a third of it, at most five minutes, is added at random.
    pub cache_ttl: Duration,
}

/// The engine of the carts.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file, made if it is not there.
    Sqlite(PathBuf),
    Mongo {
        /// `mongodb://…` or `mongodb+srv://…`; a secret because it may have a password in it.
        uri: Secret,
        database: String,
    },
}

/// The engine of the cache.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In this process.
    Memory,
    /// Shared by all processes that name the same one.
    Redis {
        link: RedisLink,
        /// What every key begins with.
        prefix: String,
    },
}

/// Where Redis is, who this is there, and what is between the two.
#[derive(Debug, Clone)]
pub struct RedisLink {
    /// `host:port`.
    pub address: String,
    /// A user of its ACL; without one, the user that has no name. Counts with a password only.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub tls: RedisTls,
}

impl RedisLink {
    /// One that anybody may use and read along.
    pub fn open(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            user: None,
            password: None,
            tls: RedisTls::Off,
        }
    }
}

/// Whether Redis is spoken to by TLS.
#[derive(Debug, Clone)]
pub enum RedisTls {
    Off,
    On {
        /// The certificates (PEM) of who vouches for it; without one, those of the system.
        ca_file: Option<PathBuf>,
    },
}

/// A text that never shows in logs.
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
