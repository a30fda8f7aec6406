//! Sagas: long pieces of work that happen completely, once, or are undone, whatever crashes in between.
//!
//! A [`Machine`] says what a saga does, as a pure table: which call follows a state, and which state follows an outcome. The
//! [`Engine`] does the rest: it begins a saga once per key, drives it, writes each step to a [`Journal`] before it relies on
//! it, tries again what has no known outcome, takes up what another process has left, and tells those who wait.

mod engine;
pub mod journal;
mod machine;
mod saga;
#[cfg(feature = "testing")]
pub mod testing;

pub use engine::{Answered, BeginError, Engine, Identity, PERMITS, Parts};
pub use journal::{Begun, Claimed, Filter, Journal, Lease, OwnRows, Record, Retry, Signalled, Signals, Table, Then};
pub use machine::{Calls, Commits, Machine, Next, Outcome, Schedule, State, Step};
pub use saga::{Entry, Fence, Saga, SagaId, Signal};
