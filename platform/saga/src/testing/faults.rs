//! Calls that go wrong, for the sagas of any machine.

use std::{
    collections::VecDeque,
    iter::once,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::{
    Sample,
    life::{Books, expected, live},
};
use crate::{
    journal::memory::MemoryJournal,
    machine::{Calls, Machine, Outcome, State},
    saga::Saga,
};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    NeverArrives,
    AnswerLost,
    Twice,
}

impl Fault {
    pub const ALL: [Self; 3] = [Self::NeverArrives, Self::AnswerLost, Self::Twice];
}

/// Calls to participants, of which some go wrong.
pub struct Faulty<M: Machine> {
    inner: Arc<dyn Calls<M>>,
    script: Mutex<VecDeque<Option<Fault>>>,
}

impl<M: Machine> Faulty<M> {
    /// What happens to the next calls, in order. Nothing goes wrong with those behind them.
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

/// Plays a saga for each refusal with each of its calls failed, repeated, or its answer lost, once and again.
///
/// # Panics
/// When one does not end as the machine says, with each effect once.
pub async fn of_every_call<M: Sample>() {
    for refuses in once(None).chain(M::refusals().into_iter().map(Some)) {
        let (end, effects) = expected::<M>(&refuses);
        for (nth, times) in (0..=effects.len()).flat_map(|nth| [1, 2, 5].map(|times| (nth, times))) {
            for fault in Fault::ALL {
                let what = format!("{refuses:?}: {fault:?} of call {nth}, {times} times");
                let folder = tempfile::tempdir().unwrap();
                let books = Arc::new(Books::<M> {
                    file: folder.path().join("books"),
                    refuses: refuses.clone(),
                });
                let script = [vec![None; nth], vec![Some(fault); times]].concat();
                let ended = live(Arc::new(MemoryJournal::default()), Faulty::new(books.clone(), script)).await;
                assert_eq!((&ended, books.effects()), (&end, effects.clone()), "{what}");
            }
        }
    }
}
