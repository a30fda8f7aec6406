//! The service's settings.

use std::time::Duration;

/// Where the tables are.
pub use storage::Database as Store;

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    /// How long a caller waits for its saga before it gets the checkout as it stands.
    pub timeout: Duration,
    /// Names this process in leases. A process that comes back under the same name takes its sagas up at once, so two live
    /// ones must never share a name.
    pub owner: String,
    /// How long an event may wait whose wake-up was lost.
    pub outbox_poll: Duration,
    /// Events that are published at once, at most.
    pub outbox_batch: u32,
    /// How long published events are kept in the outbox.
    pub outbox_retention: Duration,
}
