//! Faults of calls, for tests.

use std::{fmt, sync::Arc, time::Duration};

/// A fault of one call to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails before it arrives.
    NeverArrives,
    /// The call is executed, and its answer is lost.
    AnswerLost,
    /// The call is executed, and its answer is late by this much.
    Slow(Duration),
    /// The call is executed twice, one after the other. The caller gets the second answer.
    Twice,
}

type Plan = Arc<dyn Fn(&str) -> Option<Fault> + Send + Sync>;

/// Chooses the fault of each call by its name, such as `inventory.Reserve`.
#[derive(Clone, Default)]
pub struct Faults(Option<Plan>);

impl Faults {
    pub const fn none() -> Self {
        Self(None)
    }

    pub fn from_fn(plan: impl Fn(&str) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(plan)))
    }

    pub(crate) fn of(&self, call: &str) -> Option<Fault> {
        self.0.as_ref().and_then(|plan| plan(call))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("planned", &self.0.is_some()).finish()
    }
}
