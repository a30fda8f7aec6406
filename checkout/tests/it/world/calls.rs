//! The calls of a saga: which were made, and a script of what goes wrong with the next ones.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Semaphore;
use tonic::Status;

use super::World;
use crate::ledger::Ledger;

/// A call that a saga makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Cart,
    Prices,
    Reserve,
    Hold,
    Charge,
    FindPayment,
    Confirm,
    Release,
    GiveBack,
    Refund,
}

/// The calls to those that keep books.
pub(crate) const PARTICIPANTS: [At; 8] = [
    At::Reserve,
    At::Hold,
    At::Charge,
    At::FindPayment,
    At::Confirm,
    At::Release,
    At::GiveBack,
    At::Refund,
];

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NeverArrives,
    AnswerLost,
    Twice,
    /// It is executed, and its answer comes when nobody waits for it any more.
    Slow,
    /// The same with the call itself: it is executed after so many others that the caller makes later.
    Overtaken(usize),
}

/// Those that a connection can be made to have.
pub(crate) const FAULTS_OF_CONNECTIONS: [Fault; 3] = [Fault::NeverArrives, Fault::AnswerLost, Fault::Twice];

pub(crate) const FAULTS: [Fault; 6] = [
    Fault::NeverArrives,
    Fault::AnswerLost,
    Fault::Twice,
    Fault::Slow,
    Fault::Overtaken(1),
    Fault::Overtaken(3),
];

/// How long a caller waits for an answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// What a call does to the books.
type Effect = Box<dyn FnOnce(&mut Ledger) + Send>;

/// Holds one call up.
#[derive(Debug)]
pub(crate) struct Gate {
    at: At,
    /// Behind the effect rather than before it.
    behind: bool,
    arrivals: Semaphore,
    open: Semaphore,
}

impl Gate {
    /// Returns once a call waits here.
    pub(crate) async fn reached(&self) {
        self.arrivals.acquire().await.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.open.close();
    }
}

#[derive(Default)]
pub(super) struct Calls {
    made: Mutex<Vec<At>>,
    script: Mutex<BTreeMap<At, VecDeque<Option<Fault>>>>,
    always: Mutex<BTreeMap<At, Fault>>,
    gates: Mutex<Vec<Arc<Gate>>>,
    /// Calls that are overtaken, and by how many more.
    on_the_way: Mutex<Vec<(usize, Effect)>>,
}

impl World {
    /// What happens to the next calls of this kind.
    pub(crate) fn script(&self, at: At, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.calls.script.lock().unwrap().entry(at).or_default().extend(faults);
    }

    /// What happens to all calls of this kind that are not in the script.
    pub(crate) fn always(&self, at: At, fault: Fault) {
        self.calls.always.lock().unwrap().insert(at, fault);
    }

    /// From here on nothing goes wrong.
    pub(crate) fn heal(&self) {
        self.calls.script.lock().unwrap().clear();
        self.calls.always.lock().unwrap().clear();
    }

    /// Holds up the next call of this kind before it has an effect.
    pub(crate) fn gate_before(&self, at: At) -> Arc<Gate> {
        self.gate(at, false)
    }

    /// Holds up the next call of this kind after it has had its effect.
    pub(crate) fn gate_behind(&self, at: At) -> Arc<Gate> {
        self.gate(at, true)
    }

    fn gate(&self, at: At, behind: bool) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            at,
            behind,
            arrivals: Semaphore::new(0),
            open: Semaphore::new(0),
        });
        self.calls.gates.lock().unwrap().push(gate.clone());
        gate
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> Vec<At> {
        self.calls.made.lock().unwrap().clone()
    }

    pub(crate) fn calls_of(&self, at: At) -> usize {
        self.calls().iter().filter(|call| **call == at).count()
    }

    pub(crate) fn next_fault(&self, at: At) -> Option<Fault> {
        let scripted = self
            .calls
            .script
            .lock()
            .unwrap()
            .get_mut(&at)
            .and_then(VecDeque::pop_front);
        scripted.unwrap_or_else(|| self.calls.always.lock().unwrap().get(&at).copied())
    }

    async fn pass(&self, at: At, behind: bool) {
        let gate = {
            let mut gates = self.calls.gates.lock().unwrap();
            let place = gates.iter().position(|gate| gate.at == at && gate.behind == behind);
            place.map(|place| gates.remove(place))
        };
        if let Some(gate) = gate {
            gate.arrivals.add_permits(1);
            // It is never given a permit: it ends when the gate is opened.
            let _ = gate.open.acquire().await;
        }
    }

    /// A call that is executed, between its gates.
    pub(crate) async fn execute<T>(&self, at: At, act: impl FnOnce(&mut Ledger) -> T) -> T {
        self.made(at).await;
        self.pass(at, false).await;
        let answer = act(&mut self.ledger());
        self.deliver(1);
        self.pass(at, true).await;
        tokio::task::yield_now().await;
        answer
    }

    async fn made(&self, at: At) {
        self.calls.made.lock().unwrap().push(at);
        tokio::task::yield_now().await;
    }

    /// Executes those calls that so many others have overtaken by now.
    fn deliver(&self, more: usize) {
        let mut on_the_way = self.calls.on_the_way.lock().unwrap();
        for (others, effect) in std::mem::take(&mut *on_the_way) {
            match others.saturating_sub(more) {
                0 => effect(&mut self.ledger()),
                others => on_the_way.push((others, effect)),
            }
        }
    }

    /// Executes whatever is still on the way.
    pub(crate) fn deliver_all(&self) {
        self.deliver(usize::MAX);
    }

    /// A call, and what goes wrong with it. An error is an answer that was not seen.
    pub(super) async fn call<T>(
        &self,
        at: At,
        mut act: impl FnMut(&mut Ledger) -> T + Send + 'static,
    ) -> Result<T, Status> {
        match self.next_fault(at) {
            None => Ok(self.execute(at, act).await),
            Some(Fault::NeverArrives) => {
                self.made(at).await;
                Err(Status::unavailable("connection lost"))
            }
            Some(Fault::AnswerLost) => {
                self.execute(at, act).await;
                Err(Status::cancelled("Timeout expired"))
            }
            Some(Fault::Twice) => {
                self.execute(at, &mut act).await;
                Ok(self.execute(at, act).await)
            }
            Some(Fault::Slow) => {
                self.execute(at, act).await;
                Err(too_late().await)
            }
            Some(Fault::Overtaken(by)) => {
                self.made(at).await;
                let effect: Effect = Box::new(move |ledger| drop(act(ledger)));
                self.calls.on_the_way.lock().unwrap().push((by, effect));
                Err(too_late().await)
            }
        }
    }
}

/// What a caller makes of an answer that has not come in time.
async fn too_late() -> Status {
    let answer = tokio::time::timeout(DEADLINE, std::future::pending::<()>()).await;
    Status::deadline_exceeded(answer.unwrap_err().to_string())
}
