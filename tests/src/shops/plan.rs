//! Faults in the calls of chosen purchases.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use runtime::{Fault, Faults, RequestContext};

/// Faults by request id and name of the call, so that each of many purchases in one shop has its own.
#[derive(Debug, Default)]
pub struct FaultPlan(BTreeMap<String, BTreeMap<&'static str, Planned>>);

#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// How many more calls get the fault.
    left: AtomicU32,
    count: AtomicU32,
}

impl Planned {
    fn next(&self) -> Option<Fault> {
        self.left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .ok()?;
        self.count.fetch_add(1, SeqCst);
        Some(self.fault)
    }
}

impl FaultPlan {
    /// Gives a fault to the first calls of this name in this request.
    pub fn add(&mut self, request: &str, call: &'static str, fault: Fault, times: u32) {
        let planned = Planned {
            fault,
            left: times.into(),
            count: 0.into(),
        };
        self.0.entry(request.to_owned()).or_default().insert(call, planned);
    }

    fn planned(&self, request: &str, call: &str) -> Option<&Planned> {
        self.0.get(request)?.get(call)
    }

    /// How many calls have got the fault.
    pub fn count(&self, request: &str, call: &str) -> u32 {
        self.planned(request, call)
            .map_or(0, |planned| planned.count.load(SeqCst))
    }

    /// Ends the fault.
    pub fn clear(&self, request: &str, call: &str) {
        if let Some(planned) = self.planned(request, call) {
            planned.left.store(0, SeqCst);
        }
    }

    pub fn faults(self: &Arc<Self>) -> Faults {
        let plan = self.clone();
        Faults::from_fn(move |call| plan.planned(&RequestContext::current()?.request_id, call)?.next())
    }
}
