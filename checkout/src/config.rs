//! The settings of the service.

use std::time::Duration;

use crate::domain::PaymentMethod;

/// Where the tables are.
pub use storage::Database as Store;

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    /// The payment method of a purchase that names none. `None`: every purchase must name one.
    pub default_method: Option<PaymentMethod>,
    /// How long a caller waits for the end of its saga, before it gets the state so far.
    pub timeout: Duration,
    /// The name of this process in leases. A process that restarts under its name continues its sagas at once, so two
    /// live processes must never share a name.
    pub owner: String,
    /// How often the relay looks for events whose wake-up was lost.
    pub outbox_poll: Duration,
    /// The most events that are published at once.
    pub outbox_batch: u32,
    /// How long published events stay in the outbox.
    pub outbox_retention: Duration,
}
