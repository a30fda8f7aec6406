//! A saga, its history and its signals.

use jiff::Timestamp;
use runtime::RequestContext;
use uuid::Uuid;

use crate::machine::{Machine, State};

/// The id of a saga. It is the idempotency key of every call that the saga makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SagaId(pub Uuid);

impl std::fmt::Display for SagaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that every claim of a saga raises, so that writes of an earlier owner are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence(pub i64);

/// A saga as it was last read or persisted.
#[derive(Debug, Clone, PartialEq)]
pub struct Saga<M: Machine> {
    pub id: SagaId,
    /// The owner of the idempotency key, such as a user.
    pub scope: String,
    /// A digest of the request that first used the key.
    pub fingerprint: String,
    pub state: M::State,
    pub data: M::Data,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Calls without a known outcome since the last step.
    pub attempts: u32,
    pub needs_attention: bool,
    /// The number of entries in the history.
    pub version: i64,
    /// The request that began the saga; `None` for sagas of versions that did not store it.
    pub context: Option<RequestContext>,
}

impl<M: Machine> Saga<M> {
    /// Whether the saga is in a final state.
    pub fn is_final(&self) -> bool {
        M::TABLE.final_states.contains(&self.state.name())
    }
}

/// One entry of a saga's history: a step that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name of the state that was reached.
    pub state: String,
    pub at: Timestamp,
    pub detail: String,
}

/// A message to a saga. It can end the saga's wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Chosen by the sender. A signal with a known id is a repetition and is ignored.
    pub id: Uuid,
    pub name: String,
    pub payload: String,
}
