//! Identifiers.

use std::{fmt, sync::Arc};

use uuid::Uuid;

/// A source of ids.
#[derive(Clone)]
pub struct Ids(Arc<dyn Fn() -> Uuid + Send + Sync>);

impl Ids {
    /// UUIDv7: ordered by time, so that indexes grow at one end.
    #[allow(clippy::disallowed_methods, reason = "this is the one place where ids are made")]
    pub fn random() -> Self {
        Self(Arc::new(Uuid::now_v7))
    }

    /// Ids from `next()`, for tests.
    pub fn from_fn(next: impl Fn() -> Uuid + Send + Sync + 'static) -> Self {
        Self(Arc::new(next))
    }

    pub fn next(&self) -> Uuid {
        (self.0)()
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}
