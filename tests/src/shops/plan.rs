//! What goes wrong with the calls of which purchase.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use runtime::{Fault, Faults, RequestContext};

/// Faults by the request that a call belongs to and by the call's name, so that many purchases of one shop can each have
/// their own.
#[derive(Debug, Default)]
pub struct Plan(BTreeMap<String, BTreeMap<&'static str, Planned>>);

#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// How many more calls it happens to.
    left: AtomicU32,
    happened: AtomicU32,
}

impl Planned {
    fn next(&self) -> Option<Fault> {
        self.left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .ok()?;
        self.happened.fetch_add(1, SeqCst);
        Some(self.fault)
    }
}

impl Plan {
    /// Lets a fault happen to the first calls of this name that are made for this request.
    pub fn add(&mut self, request: &str, call: &'static str, fault: Fault, times: u32) {
        let planned = Planned {
            fault,
            left: times.into(),
            happened: 0.into(),
        };
        self.0.entry(request.to_owned()).or_default().insert(call, planned);
    }

    fn planned(&self, request: &str, call: &str) -> Option<&Planned> {
        self.0.get(request)?.get(call)
    }

    /// How often it has happened.
    pub fn happened(&self, request: &str, call: &str) -> u32 {
        self.planned(request, call)
            .map_or(0, |planned| planned.happened.load(SeqCst))
    }

    /// Lets the calls go well from now on.
    pub fn lift(&self, request: &str, call: &str) {
        if let Some(planned) = self.planned(request, call) {
            planned.left.store(0, SeqCst);
        }
    }

    pub fn faults(self: &Arc<Self>) -> Faults {
        let plan = self.clone();
        Faults::from_fn(move |call| plan.planned(&RequestContext::current()?.request_id, call)?.next())
    }
}
