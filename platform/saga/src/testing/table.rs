//! Checks the transition table of a machine.

use std::collections::BTreeSet;

use super::Sample;
use crate::machine::{Next, Outcome, State};

/// # Panics
/// Unless the machine takes exactly the steps that it declares, each state survives storage, the declared final states
/// are final, and an unknown outcome changes no state.
pub fn is_sound<M: Sample>() {
    let states = [M::happy_path(), M::other_states()].concat();
    let failures: Vec<_> = states.iter().filter_map(|state| state.failure().cloned()).collect();
    let mut taken = BTreeSet::new();
    for state in &states {
        let name = state.name();
        assert_eq!(
            M::State::from_parts(name, state.failure().cloned()).as_ref(),
            Some(state)
        );
        let next = M::next(state, &M::data_in(M::data(1), state));
        assert_eq!(
            matches!(next, Next::End),
            M::TABLE.final_states.contains(&name),
            "{name}"
        );
        let mut to: Vec<M::State> = match next {
            Next::Intent(intent) => vec![intent],
            Next::End => Vec::new(),
            Next::Call(_) | Next::Wait(_) => {
                let mut outcomes = vec![Outcome::Done, Outcome::Exhausted];
                outcomes.extend(failures.iter().cloned().map(Outcome::Refused));
                outcomes
                    .into_iter()
                    .map(|outcome| M::apply(state.clone(), outcome))
                    .collect()
            }
        };
        to.extend(M::signals().iter().filter_map(|signal| M::on_signal(state, signal)));
        taken.extend(to.iter().map(State::name).filter(|to| *to != name).map(|to| (name, to)));
        assert_eq!(
            M::apply(state.clone(), Outcome::Unknown),
            *state,
            "an unknown outcome changes nothing"
        );
    }
    let of_version = M::STEPS.iter().filter(|(version, _)| *version == M::VERSION);
    let declared: BTreeSet<_> = of_version.flat_map(|(_, steps)| steps.iter().copied()).collect();
    assert_eq!(taken, declared, "the steps of {}", M::KIND);
}
