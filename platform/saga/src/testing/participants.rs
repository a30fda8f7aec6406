//! Participants in memory, and the processes that call them. For tests with paused time.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use events::RelayWaker;
use runtime::{Clock, Ids, RequestContext, Runtime};
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};

use super::{
    Sample,
    run::{Refusal, path},
};
use crate::{
    engine::{BeginError, Engine, Execution, Parts, RequestKey},
    journal::{Signals, memory::MemoryJournal},
    machine::{Calls, Outcome, State},
    saga::{Saga, SagaId},
};

/// Longer than any saga of these tests takes.
pub const PATIENCE: Duration = Duration::from_mins(10);

/// Stops one call until the test opens it.
pub struct Gate {
    is_after_effect: bool,
    arrivals: Semaphore,
    opening: Semaphore,
}

impl Gate {
    /// Returns once the call waits here.
    pub async fn reached(&self) {
        self.arrivals.acquire().await.unwrap().forget();
    }

    pub fn open(&self) {
        self.opening.close();
    }

    async fn pass(&self) {
        self.arrivals.add_permits(1);
        self.opening.acquire().await.unwrap_err();
    }
}

/// Idempotent participants: a repeated call has no second effect. They send each saga its signals with its first call,
/// so that no saga waits.
pub struct Participants<M: Sample> {
    journal: MemoryJournal<M>,
    pub refusal: Refusal<M>,
    effects: Mutex<BTreeMap<SagaId, Vec<String>>>,
    signalled: Mutex<BTreeSet<SagaId>>,
    /// The request ids under which the calls were made.
    request_ids: Mutex<Vec<Option<String>>>,
    made: Mutex<usize>,
    gates: Mutex<BTreeMap<usize, Arc<Gate>>>,
    /// The sagas that reach no participant; `None` for all.
    outage: Mutex<Option<BTreeSet<SagaId>>>,
}

impl<M: Sample> Participants<M> {
    /// Stops the `nth` call that any saga makes, counted from 0, before or after its effect.
    pub fn gate(&self, nth: usize, is_after_effect: bool) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            is_after_effect,
            arrivals: Semaphore::new(0),
            opening: Semaphore::new(0),
        });
        self.gates.lock().unwrap().insert(nth, gate.clone());
        gate
    }

    /// Makes the participants unreachable for all sagas.
    pub fn break_down(&self) {
        *self.outage.lock().unwrap() = None;
    }

    /// Makes the participants reachable for all sagas but these.
    pub fn repair_except(&self, sagas: impl IntoIterator<Item = SagaId>) {
        *self.outage.lock().unwrap() = Some(sagas.into_iter().collect());
    }

    pub fn repair(&self) {
        self.repair_except([]);
    }

    /// The calls of a saga that had an effect, in order.
    pub fn effects(&self, id: SagaId) -> Vec<String> {
        self.effects.lock().unwrap().get(&id).cloned().unwrap_or_default()
    }

    /// Makes these the effects of earlier calls of a saga.
    pub fn remember(&self, id: SagaId, effects: Vec<String>) {
        self.effects.lock().unwrap().insert(id, effects);
    }

    /// The request ids of all calls, in order.
    pub fn request_ids(&self) -> Vec<Option<String>> {
        self.request_ids.lock().unwrap().clone()
    }

    /// The number of calls so far.
    pub fn calls(&self) -> usize {
        *self.made.lock().unwrap()
    }

    fn is_down_for(&self, id: SagaId) -> bool {
        let outage = self.outage.lock().unwrap();
        outage.as_ref().is_none_or(|sagas| sagas.contains(&id))
    }

    fn take_gate(&self) -> Option<Arc<Gate>> {
        let mut made = self.made.lock().unwrap();
        *made += 1;
        self.gates.lock().unwrap().remove(&(*made - 1))
    }
}

#[async_trait]
impl<M: Sample> Calls<M> for Participants<M> {
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> Outcome<<M::State as State>::Failure> {
        let gate = self.take_gate();
        let request_id = RequestContext::current().map(|context| context.request_id);
        self.request_ids.lock().unwrap().push(request_id);
        let stop_if = |is_after_effect| gate.as_ref().filter(|gate| gate.is_after_effect == is_after_effect);
        if let Some(gate) = stop_if(false) {
            gate.pass().await;
        }
        if self.is_down_for(saga.id) {
            return Outcome::Unknown;
        }
        let is_first = self.signalled.lock().unwrap().insert(saga.id);
        for signal in M::signals().iter().filter(|_| is_first) {
            self.journal.send(saga.id, signal).await.unwrap();
        }
        let outcome = match &self.refusal {
            Some((refused, why)) if *refused == call => Outcome::Refused(why.clone()),
            Some(_) | None => {
                let mut effects = self.effects.lock().unwrap();
                let (effects, effect) = (effects.entry(saga.id).or_default(), format!("{call:?}"));
                if !effects.contains(&effect) {
                    effects.push(effect);
                }
                saga.data = M::data_in(saga.data.clone(), &M::apply(saga.state.clone(), Outcome::Done));
                Outcome::Done
            }
        };
        if let Some(gate) = stop_if(true) {
            gate.pass().await;
        }
        outcome
    }
}

/// A journal and participants, shared by the processes of a test.
pub struct World<M: Sample> {
    pub journal: MemoryJournal<M>,
    pub participants: Arc<Participants<M>>,
}

impl<M: Sample> World<M> {
    pub fn new(refusal: Refusal<M>) -> Self {
        let journal = MemoryJournal::default();
        let participants = Participants {
            journal: journal.clone(),
            refusal,
            effects: Mutex::default(),
            signalled: Mutex::default(),
            request_ids: Mutex::default(),
            made: Mutex::default(),
            gates: Mutex::default(),
            outage: Mutex::new(Some(BTreeSet::new())),
        };
        Self {
            journal,
            participants: Arc::new(participants),
        }
    }

    /// A process of this name.
    pub fn process(&self, owner: &str) -> Process<M> {
        let parts = Parts {
            journal: Arc::new(self.journal.clone()),
            calls: self.participants.clone(),
            wake: RelayWaker::default(),
            owner: owner.to_owned(),
        };
        let runtime = Runtime::system();
        Process {
            engine: Engine::new(parts, &runtime),
            runtime,
        }
    }

    /// # Panics
    /// Unless this is how the machine ends: the state, the data, the history, the events and the effects, each once.
    pub fn assert_ended(&self, saga: &Saga<M>, case: &str) {
        let path = path::<M>(&self.participants.refusal);
        let (state, data, effects) = path.last().unwrap();
        assert_eq!((&saga.state, &saga.data), (state, data), "{case}");
        assert_eq!(&self.participants.effects(saga.id), effects, "{case}");
        let history = self.journal.history(saga.id);
        let reached: Vec<_> = history.iter().map(|entry| entry.state.as_str()).collect();
        let expected: Vec<_> = path.iter().map(|(state, ..)| state.name()).collect();
        assert_eq!(reached, expected, "{case}");
        assert_eq!(usize::try_from(saga.version), Ok(reached.len()), "{case}");
        assert!(!saga.needs_attention, "{case}");
        let event = |(state, data, _): &(M::State, M::Data, Vec<String>)| {
            let (state, data) = (state.clone(), data.clone());
            let at_state = Saga {
                state,
                data,
                ..saga.clone()
            };
            M::event(&at_state, Clock::system().now(), &Ids::random()).unwrap()
        };
        let announced = path.iter().filter(|step| event(step).is_some()).count();
        let key = saga.id.to_string();
        let events = self
            .journal
            .outbox()
            .into_iter()
            .filter(|event| event.key == key)
            .count();
        assert_eq!(events, announced, "{case}");
    }
}

/// A process that begins and drives sagas.
#[derive(Clone)]
pub struct Process<M: Sample> {
    pub engine: Engine<M>,
    pub runtime: Runtime,
}

impl<M: Sample> Process<M> {
    /// Begins the saga of this key, or joins it.
    pub async fn begin_or_join(&self, key: &str, patience: Duration) -> Result<Execution<M>, BeginError<Infallible>> {
        let request = RequestKey {
            scope: "user-1".to_owned(),
            key: key.to_owned(),
            fingerprint: String::new(),
        };
        let data = async { Ok::<_, Infallible>(M::data(1)) };
        let first = M::happy_path().remove(0);
        self.engine
            .begin_or_join(request, first, Instant::now() + patience, data)
            .await
    }

    /// [`Self::begin_or_join`] in a task, until the saga is final.
    #[allow(clippy::disallowed_methods, reason = "the test awaits this task, not the runtime")]
    pub fn start(&self, key: &str) -> JoinHandle<Execution<M>> {
        let (process, key) = (self.clone(), key.to_owned());
        tokio::task::spawn(async move { process.begin_or_join(&key, PATIENCE).await.unwrap() })
    }

    /// What a process does at its start.
    pub async fn recover(&self) {
        self.engine.release_leases_of_earlier_run().await;
        let engine = self.engine.clone();
        self.runtime.tasks.spawn(async move { engine.recover().await });
    }

    /// The saga once it is final.
    pub async fn end_of(&self, id: SagaId) -> Saga<M> {
        let deadline = Instant::now() + PATIENCE;
        let saga = self.engine.wait(id, deadline, Saga::is_final).await.unwrap().unwrap();
        assert!(saga.is_final(), "{saga:?}");
        saga
    }
}
