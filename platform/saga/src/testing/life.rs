//! A saga from its beginning to its end, over participants that remember.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use events::Wake;
use runtime::Runtime;
use tokio::time::Instant;

use super::Sample;
use crate::{
    engine::{Engine, Identity, Parts},
    journal::Journal,
    machine::{Calls, Next, Outcome, State},
    saga::{Saga, SagaId},
};

/// A refusal: of which call, and why.
pub type Refusal<M> = Option<(
    <M as crate::Machine>::Call,
    <<M as crate::Machine>::State as State>::Failure,
)>;

/// The books of those who take part: a line in a file for each effect. A call that is made again has had its effect.
pub struct Books<M: Sample> {
    pub file: PathBuf,
    pub refuses: Refusal<M>,
}

impl<M: Sample> Books<M> {
    /// The calls that had an effect, in order.
    pub fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[async_trait]
impl<M: Sample> Calls<M> for Books<M> {
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> Outcome<<M::State as State>::Failure> {
        match &self.refuses {
            Some((not_made, why)) if *not_made == call => return Outcome::Refused(why.clone()),
            Some(_) | None => {}
        }
        let (mut effects, effect) = (self.effects(), format!("{call:?}"));
        if !effects.contains(&effect) {
            effects.push(effect);
            // By a new file in place of the old one: whoever dies here leaves the one or the other.
            let new = self.file.with_extension("new");
            fs::write(&new, effects.join("\n")).unwrap();
            fs::rename(&new, &self.file).unwrap();
        }
        saga.data = M::after(saga.data.clone(), &M::apply(saga.state.clone(), Outcome::Done));
        Outcome::Done
    }
}

/// How a saga ends, and with what effects, by the machine alone.
pub fn expected<M: Sample>(refuses: &Refusal<M>) -> (M::State, Vec<String>) {
    let (mut state, mut data, mut effects) = (M::way().remove(0), M::data(1), Vec::new());
    loop {
        state = match M::next(&state, &data) {
            Next::End => return (state, effects),
            Next::Record(intent) => intent,
            Next::Wait(_) => {
                let told = M::signals().iter().find_map(|signal| M::signalled(&state, signal));
                told.unwrap_or_else(|| M::apply(state, Outcome::Done))
            }
            Next::Call(call) => match refuses {
                Some((not_made, why)) if *not_made == call => M::apply(state, Outcome::Refused(why.clone())),
                Some(_) | None => {
                    effects.push(format!("{call:?}"));
                    M::apply(state, Outcome::Done)
                }
            },
        };
        data = M::after(data, &state);
    }
}

/// Begins a saga or finds it, tells it what there is to tell, and returns how it ended.
pub async fn live<M: Sample>(journal: Arc<dyn Journal<M>>, calls: Arc<dyn Calls<M>>) -> M::State {
    let parts = Parts {
        journal,
        calls,
        wake: Wake::default(),
        owner: "me".to_owned(),
    };
    let runtime = Runtime::system();
    let engine = Engine::new(parts, &runtime);
    let recovering = engine.clone();
    runtime.tasks.spawn(async move { recovering.recover().await });
    let identity = Identity {
        scope: "user-1".to_owned(),
        key: "k".to_owned(),
        fingerprint: String::new(),
    };
    let data = async { Ok::<_, ()>(M::data(1)) };
    let begun = engine.once(identity, M::way().remove(0), Instant::now(), data).await;
    let id: SagaId = begun.unwrap().saga.id;
    let until = Instant::now() + Duration::from_mins(10);
    // Told when it waits, so that it passes the same points each time.
    let waits = |saga: &Saga<M>| matches!(M::next(&saga.state, &saga.data), Next::Wait(_) | Next::End);
    engine.wait(id, until, waits).await.unwrap();
    for signal in M::signals() {
        engine.signal(id, &signal).await.unwrap();
    }
    let saga = engine.wait(id, until, Saga::has_ended).await.unwrap().unwrap();
    assert!(saga.has_ended(), "{saga:?}");
    runtime.tasks.stop(Duration::from_secs(5)).await;
    saga.state
}
