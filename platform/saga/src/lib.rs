//! Sagas: work in several steps that either completes exactly once or is compensated, whatever crashes in between.
//!
//! A [`Machine`] is a pure table: it names the call that follows a state, and the state that follows an outcome. The
//! [`Engine`] does the I/O: it begins one saga per key, makes the calls, persists each step in a [`Journal`] before it
//! relies on that step, retries calls without a known outcome, resumes sagas whose process died, and notifies waiters.

mod engine;
pub mod journal;
mod machine;
mod saga;
#[cfg(feature = "testing")]
pub mod testing;

pub use engine::{BeginError, Engine, Execution, PERMITS, Parts, RequestKey};
pub use journal::{
    Begun, Claimed, Continuation, Filter, Journal, Lease, Record, Retry, ServiceRows, SignalOutcome, Signals, Table,
};
pub use machine::{Calls, Commits, Machine, Next, Outcome, RetrySchedule, State, Step};
pub use saga::{Entry, Fence, Saga, SagaId, Signal};
