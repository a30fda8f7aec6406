//! The service's settings.

use std::time::Duration;

use crate::domain::PaymentMethod;

/// Where the tables are.
pub use storage::Database as Store;

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    /// What is charged when a purchase names no payment method. `None`: every purchase must name one.
    pub default_method: Option<PaymentMethod>,
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
