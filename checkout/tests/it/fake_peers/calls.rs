//! The calls that a saga made, and a script of the faults of the next calls.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Semaphore, task::yield_now};
use tonic::Status;

use super::{FakePeers, ledger::PeerLedger};

/// A call to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PeerCall {
    GetCart,
    GetPrices,
    Reserve,
    Hold,
    Charge,
    GetPayment,
    Confirm,
    Release,
    GiveBack,
    Refund,
}

/// The calls of a running saga: all but those before it begins.
pub(crate) const SAGA_CALLS: [PeerCall; 8] = [
    PeerCall::Reserve,
    PeerCall::Hold,
    PeerCall::Charge,
    PeerCall::GetPayment,
    PeerCall::Confirm,
    PeerCall::Release,
    PeerCall::GiveBack,
    PeerCall::Refund,
];

/// How one call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NeverArrives,
    AnswerLost,
    Twice,
    /// The call is executed, and its answer comes after the caller's deadline.
    AnswerLate,
    /// The caller's deadline passes, and the call is executed after this many later calls.
    Overtaken(usize),
}

/// The faults that `runtime::Faults` can inject into a connection.
pub(crate) const CONNECTION_FAULTS: [Fault; 3] = [Fault::NeverArrives, Fault::AnswerLost, Fault::Twice];

pub(crate) const FAULTS: [Fault; 6] = [
    Fault::NeverArrives,
    Fault::AnswerLost,
    Fault::Twice,
    Fault::AnswerLate,
    Fault::Overtaken(1),
    Fault::Overtaken(3),
];

/// How long a caller waits for an answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// What a call does to the ledger.
type Effect = Box<dyn FnOnce(&mut PeerLedger) + Send>;

/// When a call pauses: before or after its effect on the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// Pauses one call until [`Self::resume`].
#[derive(Debug)]
pub(crate) struct Pause {
    call: PeerCall,
    when: When,
    arrivals: Semaphore,
    /// Closed by `resume`. Never has a permit.
    resumed: Semaphore,
}

impl Pause {
    /// Returns once a call is paused here.
    pub(crate) async fn reached(&self) {
        self.arrivals.acquire().await.unwrap().forget();
    }

    pub(crate) fn resume(&self) {
        self.resumed.close();
    }
}

#[derive(Default)]
pub(super) struct Calls {
    made: Mutex<Vec<PeerCall>>,
    script: Mutex<BTreeMap<PeerCall, VecDeque<Option<Fault>>>>,
    always: Mutex<BTreeMap<PeerCall, Fault>>,
    pauses: Mutex<Vec<Arc<Pause>>>,
    /// Overtaken calls, each with the number of calls that must still overtake it.
    overtaken: Mutex<Vec<(usize, Effect)>>,
}

impl FakePeers {
    /// Sets the faults of the next calls of this kind, in order.
    pub(crate) fn script(&self, call: PeerCall, faults: impl IntoIterator<Item = Option<Fault>>) {
        let mut script = self.calls.script.lock().unwrap();
        script.entry(call).or_default().extend(faults);
    }

    /// Sets the fault of all calls of this kind that are not scripted.
    pub(crate) fn always(&self, call: PeerCall, fault: Fault) {
        self.calls.always.lock().unwrap().insert(call, fault);
    }

    pub(crate) fn clear_faults(&self) {
        self.calls.script.lock().unwrap().clear();
        self.calls.always.lock().unwrap().clear();
    }

    pub(crate) fn pause_before(&self, call: PeerCall) -> Arc<Pause> {
        self.pause(call, When::Before)
    }

    pub(crate) fn pause_after(&self, call: PeerCall) -> Arc<Pause> {
        self.pause(call, When::After)
    }

    /// Pauses the next call of this kind.
    pub(crate) fn pause(&self, call: PeerCall, when: When) -> Arc<Pause> {
        let pause = Arc::new(Pause {
            call,
            when,
            arrivals: Semaphore::new(0),
            resumed: Semaphore::new(0),
        });
        self.calls.pauses.lock().unwrap().push(pause.clone());
        pause
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> Vec<PeerCall> {
        self.calls.made.lock().unwrap().clone()
    }

    pub(crate) fn calls_of(&self, call: PeerCall) -> usize {
        self.calls().iter().filter(|made| **made == call).count()
    }

    pub(crate) fn next_fault(&self, call: PeerCall) -> Option<Fault> {
        let mut script = self.calls.script.lock().unwrap();
        let scripted = script.get_mut(&call).and_then(VecDeque::pop_front);
        scripted.unwrap_or_else(|| self.calls.always.lock().unwrap().get(&call).copied())
    }

    async fn wait_while_paused(&self, call: PeerCall, when: When) {
        let pause = {
            let mut pauses = self.calls.pauses.lock().unwrap();
            let index = pauses.iter().position(|pause| pause.call == call && pause.when == when);
            index.map(|index| pauses.remove(index))
        };
        if let Some(pause) = pause {
            pause.arrivals.add_permits(1);
            let _ = pause.resumed.acquire().await;
        }
    }

    /// Executes a call without a fault.
    pub(crate) async fn execute<T>(&self, call: PeerCall, effect: impl FnOnce(&mut PeerLedger) -> T) -> T {
        self.record(call).await;
        self.wait_while_paused(call, When::Before).await;
        let answer = effect(&mut self.ledger());
        self.deliver_overtaken(1);
        self.wait_while_paused(call, When::After).await;
        yield_now().await;
        answer
    }

    async fn record(&self, call: PeerCall) {
        self.calls.made.lock().unwrap().push(call);
        yield_now().await;
    }

    /// Executes the overtaken calls that waited for no more than this many others.
    fn deliver_overtaken(&self, others: usize) {
        let mut overtaken = self.calls.overtaken.lock().unwrap();
        for (missing, effect) in std::mem::take(&mut *overtaken) {
            match missing.saturating_sub(others) {
                0 => effect(&mut self.ledger()),
                missing => overtaken.push((missing, effect)),
            }
        }
    }

    /// Executes all calls that are still overtaken.
    pub(crate) fn deliver_all(&self) {
        self.deliver_overtaken(usize::MAX);
    }

    /// Makes a call, with its fault. An error means that the caller saw no answer.
    pub(super) async fn call<T>(
        &self,
        call: PeerCall,
        mut effect: impl FnMut(&mut PeerLedger) -> T + Send + 'static,
    ) -> Result<T, Status> {
        match self.next_fault(call) {
            None => Ok(self.execute(call, effect).await),
            Some(Fault::NeverArrives) => {
                self.record(call).await;
                Err(Status::unavailable("connection lost"))
            }
            Some(Fault::AnswerLost) => {
                self.execute(call, effect).await;
                Err(Status::cancelled("Timeout expired"))
            }
            Some(Fault::Twice) => {
                self.execute(call, &mut effect).await;
                Ok(self.execute(call, effect).await)
            }
            Some(Fault::AnswerLate) => {
                self.execute(call, effect).await;
                Err(deadline_exceeded().await)
            }
            Some(Fault::Overtaken(by)) => {
                self.record(call).await;
                let effect: Effect = Box::new(move |ledger| drop(effect(ledger)));
                self.calls.overtaken.lock().unwrap().push((by, effect));
                Err(deadline_exceeded().await)
            }
        }
    }
}

/// Waits for the caller's deadline.
async fn deadline_exceeded() -> Status {
    let answer = tokio::time::timeout(DEADLINE, std::future::pending::<()>()).await;
    Status::deadline_exceeded(answer.unwrap_err().to_string())
}
