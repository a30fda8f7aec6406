//! What the author of a saga writes: its states, its pure transition table, and the calls that it makes.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use events::Event;
use jiff::Timestamp;
use runtime::Ids;
use serde::{Serialize, de::DeserializeOwned};
use storage::{Row, StoreError, Value};

use crate::{
    journal::Table,
    saga::{Saga, Signal},
};

/// A state of a saga. Never remove a state that was released: rows of running sagas may hold it.
pub trait State: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Why a saga is compensated. The compensating states carry it.
    type Failure: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The name of the state in the database.
    fn name(&self) -> &'static str;
    /// The label of the commit that persists this state, for crash points: `checkout.begin`.
    fn commit_label(&self) -> &'static str;
    fn failure(&self) -> Option<&Self::Failure>;
    /// The state of this name; `None` for an unknown name, or when the failure is missing or superfluous.
    fn from_parts(name: &str, failure: Option<Self::Failure>) -> Option<Self>;
}

/// Defines the states of a saga, each with its name in the database and the label of its commit. The states after
/// `compensating with` compensate the saga, and carry the failure.
#[macro_export]
macro_rules! states {
    (
        $(#[$doc:meta])*
        $visibility:vis enum $states:ident {
            $($(#[$plain_doc:meta])* $plain:ident = $plain_name:literal, $plain_commit:expr;)*
        } compensating with $failure:ty {
            $($(#[$undo_doc:meta])* $undo:ident = $undo_name:literal, $undo_commit:expr;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $visibility enum $states {
            $($(#[$plain_doc])* $plain,)*
            $($(#[$undo_doc])* $undo($failure),)*
        }

        impl $crate::State for $states {
            type Failure = $failure;

            fn name(&self) -> &'static str {
                match self {
                    $(Self::$plain => $plain_name,)*
                    $(Self::$undo(_) => $undo_name,)*
                }
            }

            fn commit_label(&self) -> &'static str {
                match self {
                    $(Self::$plain => $plain_commit,)*
                    $(Self::$undo(_) => $undo_commit,)*
                }
            }

            fn failure(&self) -> Option<&$failure> {
                match self {
                    $(Self::$plain => None,)*
                    $(Self::$undo(why) => Some(why),)*
                }
            }

            fn from_parts(name: &str, failure: Option<$failure>) -> Option<Self> {
                Some(match (name, failure) {
                    $(($plain_name, None) => Self::$plain,)*
                    $(($undo_name, Some(why)) => Self::$undo(why),)*
                    _ => return None,
                })
            }
        }
    };
}

/// What a saga does in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<S, C> {
    Call(C),
    /// Moves to this state without a call. If the call of this state cannot be taken back,
    /// [`Machine::may_call_before_persisting`] of this state must be false: then it is persisted before that call.
    Intent(S),
    /// Waits for a signal, or until this time if there is one. The saga releases its lease and has no driver meanwhile.
    Wait(Option<Timestamp>),
    End,
}

/// The outcome of a call or a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<F> {
    /// The call was executed, or the time of the wait has come.
    Done,
    /// The participant refused, for a known reason of this participant. The call has no effect, now or later.
    Refused(F),
    /// The call may or may not have been executed. The engine makes the same call again.
    Unknown,
    /// The call may or may not have been executed, and its [`RetrySchedule`] allows no further attempt.
    Exhausted,
}

/// When a call without a known outcome is retried: exponential backoff from `initial_delay` to `max_delay`. The second
/// half of each delay is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySchedule {
    pub initial_delay: Duration,
    pub max_delay: Duration,
    /// With more unknown outcomes in a row than this the saga is marked `needs_attention`, and `slow_delay` applies.
    pub attention_after: u32,
    pub slow_delay: Duration,
    /// After so many attempts the outcome is [`Outcome::Exhausted`]; `None`: never.
    pub max_attempts: Option<u32>,
}

impl RetrySchedule {
    /// For calls to other services: fast retries for about half a minute, then slow ones without limit.
    pub const PEER: Self = Self {
        initial_delay: Duration::from_millis(100),
        max_delay: Duration::from_secs(5),
        attention_after: 12,
        slow_delay: Duration::from_secs(30),
        max_attempts: None,
    };

    /// The same schedule with another limit of attempts.
    #[must_use]
    pub const fn limited_to(self, max_attempts: Option<u32>) -> Self {
        Self { max_attempts, ..self }
    }
}

/// A permitted step, as the names of two states: from, to.
pub type Step = (&'static str, &'static str);

/// Labels of the commits that persist no state, for crash points: `checkout.claim`.
#[derive(Debug, Clone, Copy)]
pub struct Commits {
    /// Persists an attempt without a known outcome.
    pub retry: &'static str,
    pub claim: &'static str,
    /// Releases all leases of an owner that has restarted.
    pub release_leases: &'static str,
    pub signal: &'static str,
}

/// One kind of saga. All functions but [`Self::event`] are pure: no I/O, no clock, no chance.
pub trait Machine: Debug + Clone + PartialEq + Sized + Send + Sync + 'static {
    type State: State;
    /// The input of the saga, and the results of its calls.
    type Data: Clone + Debug + PartialEq + Send + Sync + 'static;
    type Call: Copy + Debug + PartialEq + Send + Sync + 'static;

    /// The name of this kind in logs.
    const KIND: &'static str;
    const COMMITS: Commits;
    /// Raise this number when states or steps change. A process claims no saga of a higher version than its own.
    const VERSION: u32;
    /// The tables, and the columns of [`Self::Data`].
    const TABLE: Table;
    /// The steps that each version permits. Audits check histories against them.
    const STEPS: &'static [(u32, &'static [Step])];

    /// What a saga in this state does next.
    fn next(state: &Self::State, data: &Self::Data) -> Next<Self::State, Self::Call>;

    /// The state after a call or a wait. [`Outcome::Unknown`] must return the same state, so the call is made again.
    fn apply(state: Self::State, outcome: Outcome<<Self::State as State>::Failure>) -> Self::State;

    /// The state after a signal during a wait; `None` if this state ignores the signal.
    fn on_signal(_state: &Self::State, _signal: &Signal) -> Option<Self::State> {
        None
    }

    /// Whether the engine may make this state's call before it persists the state, so that both steps share a commit.
    /// After a crash the call that led to this state is made again, and its participant must give the same answer.
    /// States without a call ([`Next::Intent`]) always share the commit of the state that follows.
    fn may_call_before_persisting(_state: &Self::State) -> bool {
        false
    }

    fn retry_schedule(_call: Self::Call) -> RetrySchedule {
        RetrySchedule::PEER
    }

    /// The public status of the saga. Several states may share one.
    fn status(state: &Self::State, _data: &Self::Data) -> &'static str {
        state.name()
    }

    /// The detail text of the history entry for `state`; `before` is `None` for the first entry.
    fn detail(_state: &Self::State, _before: Option<&Self::State>) -> String {
        String::new()
    }

    /// The event that announces this state, with its topic. The event commits together with the state. Unlike the other
    /// functions this one makes ids and reads the request's context.
    fn event(_saga: &Saga<Self>, _now: Timestamp, _ids: &Ids) -> Result<Option<(&'static str, Event)>, StoreError> {
        Ok(None)
    }

    /// The values of [`Table::frozen`], in that order.
    fn frozen(data: &Self::Data) -> Result<Vec<Value>, StoreError>;
    /// The values of [`Table::learned`], in that order.
    fn learned(_data: &Self::Data) -> Result<Vec<Value>, StoreError> {
        Ok(Vec::new())
    }
    /// Reads the columns of [`Table::frozen`] and [`Table::learned`].
    fn read(row: Row<'_>) -> Result<Self::Data, StoreError>;
}

/// The participants of a saga.
#[async_trait]
pub trait Calls<M: Machine>: Send + Sync {
    /// Makes a call and stores its result in `saga.data`. The engine may make a call any number of times, so the
    /// participant must be idempotent: the saga's id is its idempotency key. Logs the cause of an unknown outcome.
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> Outcome<<M::State as State>::Failure>;
}
