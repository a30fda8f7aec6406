//! A saga as it is known, and what is told of it.

use jiff::Timestamp;
use runtime::RequestContext;
use uuid::Uuid;

use crate::machine::{Machine, State};

/// The id of a saga: the key of all its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SagaId(pub Uuid);

impl std::fmt::Display for SagaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Rises with every claim of a saga: writes of an earlier owner find that it has moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence(pub i64);

/// A saga and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Saga<M: Machine> {
    pub id: SagaId,
    /// Whose the key is.
    pub scope: String,
    /// What the key was first used for.
    pub fingerprint: String,
    pub state: M::State,
    pub data: M::Data,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Calls without a known outcome since the last step.
    pub attempts: u32,
    pub needs_attention: bool,
    /// Rises by one with every entry of the history.
    pub version: i64,
    /// The request that began it; `None` for sagas of versions that did not keep it.
    pub context: Option<RequestContext>,
}

impl<M: Machine> Saga<M> {
    /// Whether nothing follows.
    pub fn has_ended(&self) -> bool {
        M::TABLE.ends.contains(&self.state.name())
    }
}

/// One step that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The state by name.
    pub state: String,
    pub at: Timestamp,
    pub detail: String,
}

/// What a saga that waits is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Its own id: the same one again is the same signal.
    pub id: Uuid,
    pub name: String,
    pub payload: String,
}
