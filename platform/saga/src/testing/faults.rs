//! Injects faults into the calls of a saga.

use std::{
    collections::VecDeque,
    iter::once,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::{
    Sample,
    run::{Participants, expected, run_to_end},
};
use crate::{
    journal::memory::MemoryJournal,
    machine::{Calls, Machine, Outcome, State},
    saga::Saga,
};

/// A fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    NeverArrives,
    AnswerLost,
    Twice,
}

impl Fault {
    pub const ALL: [Self; 3] = [Self::NeverArrives, Self::AnswerLost, Self::Twice];
}

/// Participants with injected faults.
pub struct Faulty<M: Machine> {
    inner: Arc<dyn Calls<M>>,
    script: Mutex<VecDeque<Option<Fault>>>,
}

impl<M: Machine> Faulty<M> {
    /// `script` has the faults of the next calls, in order. Later calls have none.
    pub fn new(inner: Arc<dyn Calls<M>>, script: impl IntoIterator<Item = Option<Fault>>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            script: Mutex::new(script.into_iter().collect()),
        })
    }
}

#[async_trait]
impl<M: Machine> Calls<M> for Faulty<M> {
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> Outcome<<M::State as State>::Failure> {
        let fault = self.script.lock().unwrap().pop_front().flatten();
        match fault {
            None => self.inner.call(call, saga).await,
            Some(Fault::NeverArrives) => Outcome::Unknown,
            Some(Fault::AnswerLost) => {
                self.inner.call(call, &mut saga.clone()).await;
                Outcome::Unknown
            }
            Some(Fault::Twice) => {
                self.inner.call(call, &mut saga.clone()).await;
                self.inner.call(call, saga).await
            }
        }
    }
}

/// Runs a saga without and with each refusal, for each fault of each of its calls, once and several times in a row.
///
/// # Panics
/// If a saga does not end as the machine says, with each effect once.
pub async fn faults_of_calls_do_not_change_how_a_saga_ends<M: Sample>() {
    for refusal in once(None).chain(M::refusals().into_iter().map(Some)) {
        let (end, effects) = expected::<M>(&refusal);
        for (nth, times) in (0..=effects.len()).flat_map(|nth| [1, 2, 5].map(|times| (nth, times))) {
            for fault in Fault::ALL {
                let case = format!("{refusal:?}: {fault:?} of call {nth}, {times} times");
                let folder = tempfile::tempdir().unwrap();
                let participants = Arc::new(Participants::<M> {
                    file: folder.path().join("effects"),
                    refusal: refusal.clone(),
                });
                let script = [vec![None; nth], vec![Some(fault); times]].concat();
                let calls = Faulty::new(participants.clone(), script);
                let ended = run_to_end(Arc::new(MemoryJournal::default()), calls).await;
                assert_eq!((&ended, participants.effects()), (&end, effects.clone()), "{case}");
            }
        }
    }
}
