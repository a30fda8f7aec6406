//! What a saga does, as a pure table, and the calls that it makes.

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

/// A state of a saga. A state that was ever on disk stays in the enum.
pub trait State: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Why a saga ends without success; part of the states that undo it.
    type Failure: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The name under which it is stored.
    fn name(&self) -> &'static str;
    /// Names the commit that leads to it, for crash points: `checkout.begin`.
    fn commit(&self) -> &'static str;
    fn failure(&self) -> Option<&Self::Failure>;
    /// The state of this name; `None` for an unknown name, or when a failure is missing or not wanted.
    fn from_parts(name: &str, failure: Option<Self::Failure>) -> Option<Self>;
}

/// The states of a saga, each with the name under which it is stored and that of the commit that leads to it. Those of the
/// second part carry why the saga is undone.
#[macro_export]
macro_rules! states {
    (
        $(#[$doc:meta])*
        $visibility:vis enum $states:ident {
            $($(#[$plain_doc:meta])* $plain:ident = $plain_name:literal, $plain_commit:expr;)*
        } undone for $failure:ty {
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

            fn commit(&self) -> &'static str {
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

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<S, C> {
    Call(C),
    /// To record this state before anything else: it is the intent of a call.
    Record(S),
    /// To wait until this time, or for a signal; without a time, for a signal alone. Nobody drives the saga meanwhile.
    Wait(Option<Timestamp>),
    /// The saga has ended.
    End,
}

/// What came of a call or a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<F> {
    /// The call was executed; of a wait: its time has come.
    Done,
    /// The participant refused, for a reason that is known of it. It has had, and will have, no effect.
    Refused(F),
    /// Anything may have happened.
    Unknown,
    /// Anything may have happened, and the call's schedule is used up.
    Exhausted,
}

/// When a call without a known outcome is made again: after `first`, then after twice as long each time up to `most`. Half of
/// each delay is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    pub first: Duration,
    pub most: Duration,
    /// After so many attempts somebody should look at the saga.
    pub attention: u32,
    /// The delay from then on.
    pub slow: Duration,
    /// After so many attempts the outcome is [`Outcome::Exhausted`]; `None`: never.
    pub attempts: Option<u32>,
}

impl Schedule {
    /// For calls to other services: about half a minute of trying, then slowly for ever.
    pub const PEER: Self = Self {
        first: Duration::from_millis(100),
        most: Duration::from_secs(5),
        attention: 12,
        slow: Duration::from_secs(30),
        attempts: None,
    };
}

/// A step that a saga may take, by the names of its states: from, to.
pub type Step = (&'static str, &'static str);

/// The names of commits, for crash points, besides those of its states: `checkout.claim`.
#[derive(Debug, Clone, Copy)]
pub struct Commits {
    /// An attempt without a known outcome.
    pub retry: &'static str,
    pub claim: &'static str,
    /// All leases of an owner that has started again are given back.
    pub release: &'static str,
    pub signal: &'static str,
}

/// One kind of saga. All functions are pure.
pub trait Machine: Debug + Clone + PartialEq + Sized + Send + Sync + 'static {
    type State: State;
    /// What the saga was begun with, and what it has learned since.
    type Data: Clone + Debug + PartialEq + Send + Sync + 'static;
    type Call: Copy + Debug + PartialEq + Send + Sync + 'static;

    /// Names the kind in logs.
    const KIND: &'static str;
    const COMMITS: Commits;
    /// Rises when states or steps change. A process takes up no saga of a version that it does not know.
    const VERSION: u32;
    /// The tables, and the columns of [`Self::Data`].
    const TABLE: Table;
    /// The steps that a saga of a version may take. Audits judge histories by them.
    const STEPS: &'static [(u32, &'static [Step])];

    /// What a saga in this state does next.
    fn next(state: &Self::State, data: &Self::Data) -> Next<Self::State, Self::Call>;

    /// The state after a call or a wait. [`Outcome::Unknown`] changes nothing: the call is made again.
    fn apply(state: Self::State, outcome: Outcome<<Self::State as State>::Failure>) -> Self::State;

    /// The state after a signal that comes while the saga waits; `None`: the signal says nothing to this state.
    fn signalled(_state: &Self::State, _signal: &Signal) -> Option<Self::State> {
        None
    }

    /// Whether the call that follows this state may be made before the state is on disk, so that what comes of it shares the
    /// commit. Whoever takes the saga up without this state makes the call before it again.
    fn shares_its_commit(_state: &Self::State) -> bool {
        false
    }

    /// When a call without a known outcome is made again.
    fn schedule(_call: Self::Call) -> Schedule {
        Schedule::PEER
    }

    /// What is shown of the saga outside, by name.
    fn status(state: &Self::State, _data: &Self::Data) -> &'static str {
        state.name()
    }

    /// What the history says of a step into `state` from `before`, or of the beginning.
    fn detail(_state: &Self::State, _before: Option<&Self::State>) -> String {
        String::new()
    }

    /// The event that tells of this state and commits with it, and its topic.
    fn event(_saga: &Saga<Self>, _now: Timestamp, _ids: &Ids) -> Result<Option<(&'static str, Event)>, StoreError> {
        Ok(None)
    }

    /// The values of [`Table::frozen`], in that order.
    fn frozen(data: &Self::Data) -> Result<Vec<Value>, StoreError>;
    /// The values of [`Table::learned`], in that order.
    fn learned(data: &Self::Data) -> Result<Vec<Value>, StoreError>;
    /// Reads both.
    fn read(row: Row<'_>) -> Result<Self::Data, StoreError>;
}

/// Makes the calls of a saga.
#[async_trait]
pub trait Calls<M: Machine>: Send + Sync {
    /// Makes a call, whose key is the saga's id: it may be made any number of times. What it teaches is put into the data.
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> Outcome<<M::State as State>::Failure>;
}
