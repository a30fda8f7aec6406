//! The durable memory of sagas.

#[cfg(feature = "testing")]
pub mod memory;
pub mod postgres;
mod row;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use events::Event;
use jiff::Timestamp;
use storage::{StoreError, Transaction};
use uuid::Uuid;

use crate::{
    machine::Machine,
    saga::{Entry, Fence, Saga, SagaId, Signal},
};

/// The tables of one kind of saga, owned by the service. All other columns have fixed names: see this crate's README.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    /// The columns of the idempotency key, with a unique index over both.
    pub scope: &'static str,
    pub key: &'static str,
    /// The columns of the machine's data: written once, and written with every record.
    pub frozen: &'static [&'static str],
    pub learned: &'static [&'static str],
    /// The table of the history, and its column with the saga's id.
    pub history: &'static str,
    pub history_id: &'static str,
    /// The names of the final states. The partial index of unfinished sagas must list the same names in the same order.
    pub final_states: &'static [&'static str],
}

/// A saga, and the fence that its driver writes with.
#[derive(Debug, Clone)]
pub struct Claimed<M: Machine> {
    pub saga: Saga<M>,
    pub fence: Fence,
}

/// The owner of a claim, and how long the claim lasts.
#[derive(Debug, Clone)]
pub struct Lease {
    pub owner: String,
    pub ttl: Duration,
}

/// The result of an attempt to begin a saga.
#[derive(Debug)]
pub enum Begun<M: Machine> {
    Created(Fence),
    /// This saga has the key.
    Exists(Box<Saga<M>>),
    /// The [`ServiceRows`] refused, and nothing was stored.
    Refused,
}

/// What a driver persists in one transaction.
#[derive(Debug, Clone)]
pub struct Record<M: Machine> {
    /// The steps taken, in order, with the time and detail of each history entry.
    pub steps: Vec<(M::State, Timestamp, String)>,
    /// The data after these steps.
    pub data: M::Data,
    pub continuation: Continuation,
    /// The ids of the signals that these steps have read.
    pub read_signals: Vec<Uuid>,
    /// The event that announces the last step, with its topic.
    pub event: Option<(&'static str, Event)>,
}

impl<M: Machine> Record<M> {
    pub const fn new(data: M::Data) -> Self {
        Self {
            steps: Vec::new(),
            data,
            continuation: Continuation::Continue,
            read_signals: Vec::new(),
            event: None,
        }
    }
}

/// What the driver does after a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Takes the next step, unless the saga is final.
    Continue,
    /// Makes the last call again.
    Retry(Retry),
    /// Releases the lease. The saga is due at this time, or earlier if a signal arrives. An unread signal makes such a
    /// record a conflict.
    Wait(Timestamp),
}

/// When a call without a known outcome is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub after: Duration,
    pub attempts: u32,
    pub needs_attention: bool,
}

/// Which sagas to list, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    pub status: Option<&'static str>,
    pub needs_attention: bool,
    /// Only sagas with a greater id.
    pub after: Option<SagaId>,
    pub limit: u32,
}

/// The result of sending a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalOutcome {
    /// The signal is stored, now or by an earlier send of the same id.
    Sent,
    /// The saga is final, so the signal was not stored.
    Final,
    /// There is no such saga.
    NotFound,
}

/// The journal of all sagas of a kind. Every method is one atomic unit.
#[async_trait]
pub trait Journal<M: Machine>: Signals {
    /// Stores a new saga with its first history entry, claimed by `lease`; or returns the saga that has this key; or
    /// stores nothing if the [`ServiceRows`] refuse.
    async fn begin(&self, new: &Saga<M>, key: &str, lease: &Lease) -> Result<Begun<M>, StoreError>;
    async fn find(&self, scope: &str, key: &str) -> Result<Option<Saga<M>>, StoreError>;
    /// A saga with its history, oldest entry first; `None` also if the saga belongs to another scope than `scope`. Both
    /// cases of `None` do the same work, so the time of an answer does not tell whether an id exists.
    async fn get(&self, id: SagaId, scope: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError>;
    async fn list(&self, filter: Filter) -> Result<Vec<Saga<M>>, StoreError>;
    /// Persists a record and extends the lease; returns the new version. `Conflict` if version or fence has changed.
    async fn record(&self, claimed: &Claimed<M>, record: &Record<M>, lease: &Lease) -> Result<i64, StoreError>;
    /// Claims sagas that are not final, are due, and have no owner with an unexpired lease.
    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed<M>>, StoreError>;
    /// Releases all leases of this owner and makes its sagas due. Call this only before the owner drives any saga.
    async fn release_all(&self, owner: &str) -> Result<(), StoreError>;
}

/// Signals to sagas. Every method is one atomic unit.
#[async_trait]
pub trait Signals: Send + Sync {
    /// Stores a signal for a saga and makes the saga due. A driver keeps its lease. A known id is ignored.
    async fn send(&self, to: SagaId, signal: &Signal) -> Result<SignalOutcome, StoreError>;
    /// The signals that the saga has not read, oldest first.
    async fn unread(&self, of: SagaId) -> Result<Vec<Signal>, StoreError>;
}

/// Rows of the service that change in the transactions of its sagas.
#[async_trait]
pub trait ServiceRows<M: Machine>: Send + Sync {
    /// Called when a saga begins. `false` refuses the saga; then this call must have changed nothing.
    async fn begin(&self, tx: Transaction<'_>, new: &Saga<M>) -> Result<bool, StoreError>;
    /// Called when a saga takes steps.
    async fn record(&self, tx: Transaction<'_>, before: &Saga<M>, record: &Record<M>) -> Result<(), StoreError>;
}
