//! The durable memory of sagas.

#[cfg(feature = "testing")]
pub mod memory;
pub mod postgres;
mod row;
pub mod sqlite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use events::Event;
use jiff::Timestamp;
use storage::{StoreError, Transaction};
use uuid::Uuid;

use crate::{
    machine::Machine,
    saga::{Entry, Fence, Saga, SagaId, Signal},
};

/// The tables of one kind of saga, which belong to its service. The journal's columns have the same names everywhere, but for
/// those that are named here; see this crate's README.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    /// The columns of the key. They are unique together.
    pub scope: &'static str,
    pub key: &'static str,
    /// The columns of the machine's data: those that are written once, and those that may change with every record.
    pub frozen: &'static [&'static str],
    pub learned: &'static [&'static str],
    /// The table of the steps, and its column of the saga's id.
    pub history: &'static str,
    pub history_id: &'static str,
    /// The names of the states that nothing follows, as the index of the unfinished has them.
    pub ends: &'static [&'static str],
}

/// A saga, and the right to drive it.
#[derive(Debug, Clone)]
pub struct Claimed<M: Machine> {
    pub saga: Saga<M>,
    pub fence: Fence,
}

/// Who claims, and for how long.
#[derive(Debug, Clone)]
pub struct Lease {
    pub owner: String,
    pub ttl: Duration,
}

/// What became of an attempt to begin.
#[derive(Debug)]
pub enum Begun<M: Machine> {
    Created(Fence),
    /// The key was taken by this saga.
    Exists(Box<Saga<M>>),
    /// The service's own rows did not allow it: nothing was stored.
    Refused,
}

/// What a driver persists, all of it or nothing.
#[derive(Debug, Clone)]
pub struct Record<M: Machine> {
    /// Steps taken, in order, with what the history says of each.
    pub steps: Vec<(M::State, Timestamp, String)>,
    /// What is known after them.
    pub data: M::Data,
    pub then: Then,
    /// The signals that were used up.
    pub used: Vec<Uuid>,
    /// What the world is to learn of the last step, and in which topic.
    pub event: Option<(&'static str, Event)>,
}

impl<M: Machine> Record<M> {
    /// Nothing yet.
    pub const fn new(data: M::Data) -> Self {
        Self {
            steps: Vec::new(),
            data,
            then: Then::GoOn,
            used: Vec::new(),
            event: None,
        }
    }
}

/// What the driver does behind a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It goes on, or the saga has ended.
    GoOn,
    /// It makes the last call again.
    Retry(Retry),
    /// It gives the lease back. A signal that nobody has used makes this a conflict.
    Wait(Timestamp),
}

/// A call without a known outcome.
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
    /// Those behind this one.
    pub after: Option<SagaId>,
    pub limit: u32,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    /// The saga finds it when it waits, also if it was there before.
    Sent,
    /// The saga has ended: nobody will read it.
    Ended,
    /// There is no such saga.
    Unknown,
}

/// The memory of all sagas of a kind. Every method is one atomic unit.
#[async_trait]
pub trait Journal<M: Machine>: Signals {
    /// Stores a new saga under a key of its scope, with its first history entry, claimed by `lease`; or finds the one that has
    /// this key.
    async fn begin(&self, new: &Saga<M>, key: &str, lease: &Lease) -> Result<Begun<M>, StoreError>;
    async fn find(&self, scope: &str, key: &str) -> Result<Option<Saga<M>>, StoreError>;
    /// A saga with its history, oldest first. To a scope, another's is not there, and looking for it is the same work.
    async fn get(&self, id: SagaId, of: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError>;
    async fn list(&self, filter: Filter) -> Result<Vec<Saga<M>>, StoreError>;
    /// Persists what the driver did and extends its lease: `Conflict` when version or fence has moved on, and nothing was
    /// written. Returns the new version.
    async fn record(&self, claimed: &Claimed<M>, record: &Record<M>, lease: &Lease) -> Result<i64, StoreError>;
    /// Claims sagas that are not finished, are to be woken, and have no owner whose lease still runs.
    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed<M>>, StoreError>;
    /// Ends the leases of an earlier life of this owner, so that its sagas are due at once. To be called only at start.
    async fn release_all(&self, owner: &str) -> Result<(), StoreError>;
}

/// What sagas are told from outside. Every method is one atomic unit.
#[async_trait]
pub trait Signals: Send + Sync {
    /// Leaves a signal for a saga and makes it due, whoever drives it. The same id again is the same signal.
    async fn send(&self, to: SagaId, signal: &Signal) -> Result<Signalled, StoreError>;
    /// The signals that the saga has not used, oldest first.
    async fn unread(&self, of: SagaId) -> Result<Vec<Signal>, StoreError>;
}

/// The service's own rows, which change in the transactions of its sagas.
#[async_trait]
pub trait OwnRows<M: Machine>: Send + Sync {
    /// Called when a saga begins. False refuses that; then nothing may have been changed.
    async fn begin(&self, tx: Transaction<'_>, new: &Saga<M>) -> Result<bool, StoreError>;
    /// Called with the steps that a saga takes.
    async fn record(&self, tx: Transaction<'_>, before: &Saga<M>, record: &Record<M>) -> Result<(), StoreError>;
}

/// They are there for sagas that have any.
pub type Own<M> = Option<Arc<dyn OwnRows<M>>>;
