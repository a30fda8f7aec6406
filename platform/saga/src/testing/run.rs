//! Runs a saga from its beginning to its end, with idempotent participants.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use events::RelayWaker;
use runtime::Runtime;
use tokio::time::Instant;

use super::Sample;
use crate::{
    engine::{Engine, Parts, RequestKey},
    journal::Journal,
    machine::{Calls, Next, Outcome, State},
    saga::{Saga, SagaId},
};

/// The call that a participant refuses, and why.
pub type Refusal<M> = Option<(
    <M as crate::Machine>::Call,
    <<M as crate::Machine>::State as State>::Failure,
)>;

/// Idempotent participants that keep their effects in a file, one line each. A repeated call has no second effect.
pub struct Participants<M: Sample> {
    pub file: PathBuf,
    pub refusal: Refusal<M>,
}

impl<M: Sample> Participants<M> {
    /// The calls that had an effect, in order.
    pub fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[async_trait]
impl<M: Sample> Calls<M> for Participants<M> {
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> Outcome<<M::State as State>::Failure> {
        match &self.refusal {
            Some((refused, why)) if *refused == call => return Outcome::Refused(why.clone()),
            Some(_) | None => {}
        }
        let (mut effects, effect) = (self.effects(), format!("{call:?}"));
        if !effects.contains(&effect) {
            effects.push(effect);
            // Replaces the file atomically: a crash leaves the old or the new one.
            let new = self.file.with_extension("new");
            fs::write(&new, effects.join("\n")).unwrap();
            fs::rename(&new, &self.file).unwrap();
        }
        saga.data = M::data_in(saga.data.clone(), &M::apply(saga.state.clone(), Outcome::Done));
        Outcome::Done
    }
}

/// The final state and the effects of a saga, computed from the machine alone.
pub fn expected<M: Sample>(refusal: &Refusal<M>) -> (M::State, Vec<String>) {
    let (state, _, effects) = path::<M>(refusal).pop().unwrap();
    (state, effects)
}

/// The states of a saga in order, each with the data and the effects that the saga has there.
pub fn path<M: Sample>(refusal: &Refusal<M>) -> Vec<(M::State, M::Data, Vec<String>)> {
    let (mut state, mut data, mut effects) = (M::happy_path().remove(0), M::data(1), Vec::new());
    let mut path = Vec::new();
    loop {
        path.push((state.clone(), data.clone(), effects.clone()));
        state = match M::next(&state, &data) {
            Next::End => return path,
            Next::Intent(intent) => intent,
            Next::Wait(_) => {
                let signalled = M::signals().iter().find_map(|signal| M::on_signal(&state, signal));
                signalled.unwrap_or_else(|| M::apply(state, Outcome::Done))
            }
            Next::Call(call) => match refusal {
                Some((refused, why)) if *refused == call => M::apply(state, Outcome::Refused(why.clone())),
                Some(_) | None => {
                    effects.push(format!("{call:?}"));
                    M::apply(state, Outcome::Done)
                }
            },
        };
        data = M::data_in(data, &state);
    }
}

/// Begins a saga, or finds the one of an earlier run; sends its signals; returns its final state.
pub async fn run_to_end<M: Sample>(journal: Arc<dyn Journal<M>>, calls: Arc<dyn Calls<M>>) -> M::State {
    let parts = Parts {
        journal,
        calls,
        wake: RelayWaker::default(),
        owner: "me".to_owned(),
    };
    let runtime = Runtime::system();
    let engine = Engine::start(parts, &runtime).await;
    let recovering = engine.clone();
    runtime.tasks.spawn(async move { recovering.recover().await });
    let request = RequestKey {
        scope: "user-1".to_owned(),
        key: "k".to_owned(),
        fingerprint: String::new(),
    };
    let data = async { Ok::<_, ()>(M::data(1)) };
    let begun = engine
        .begin_or_join(request, M::happy_path().remove(0), Instant::now(), data)
        .await;
    let id: SagaId = begun.unwrap().saga.id;
    let deadline = Instant::now() + Duration::from_mins(10);
    // Signals are sent only to a waiting saga, so that each run passes the same crash points.
    let waits = |saga: &Saga<M>| matches!(M::next(&saga.state, &saga.data), Next::Wait(_) | Next::End);
    engine.wait(id, deadline, waits).await.unwrap();
    for signal in M::signals() {
        engine.signal(id, &signal).await.unwrap();
    }
    let saga = engine.wait(id, deadline, Saga::is_final).await.unwrap().unwrap();
    assert!(saga.is_final(), "{saga:?}");
    runtime.tasks.stop(Duration::from_secs(5)).await;
    saga.state
}
