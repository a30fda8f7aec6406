//! The table of the saga, and what holds for every path through it.

use proptest::prelude::*;
use proto::Reason;

use super::*;

fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        message: "m".to_owned(),
        shortages: Vec::new(),
    }
}

fn declined() -> Failure {
    failure(Reason::CardDeclined)
}

fn states() -> Vec<State> {
    let f = declined;
    vec![
        State::Initiated,
        State::InventoryReserved,
        State::PaymentPending,
        State::PaymentCompleted,
        State::Releasing(f()),
        State::Refunding(f()),
        State::Completed,
        State::Failed(f()),
    ]
}

#[test]
fn the_table_is_the_one_on_paper() {
    let (f, g) = (declined(), failure(Reason::OutOfStock));
    let refused = || Outcome::Refused(failure(Reason::OutOfStock));
    let rows = [
        (State::Initiated, State::InventoryReserved, State::Failed(g.clone())),
        (
            State::InventoryReserved,
            State::InventoryReserved,
            State::InventoryReserved,
        ),
        (
            State::PaymentPending,
            State::PaymentCompleted,
            State::Releasing(g.clone()),
        ),
        (State::PaymentCompleted, State::Completed, State::Refunding(g)),
        (
            State::Releasing(f.clone()),
            State::Failed(f.clone()),
            State::Releasing(f.clone()),
        ),
        (
            State::Refunding(f.clone()),
            State::Releasing(f.clone()),
            State::Refunding(f.clone()),
        ),
        (State::Completed, State::Completed, State::Completed),
        (State::Failed(f.clone()), State::Failed(f.clone()), State::Failed(f)),
    ];
    assert_eq!(rows.len(), states().len());
    for (state, done, refusal) in rows {
        assert_eq!(apply(state.clone(), Outcome::Done), done, "{state:?} done");
        assert_eq!(apply(state.clone(), refused()), refusal, "{state:?} refused");
        assert_eq!(apply(state.clone(), Outcome::Unknown), state, "{state:?} unknown");
    }
}

#[test]
fn every_state_survives_storage() {
    for state in states() {
        assert_eq!(State::from_parts(state.name(), state.failure().cloned()), Some(state));
    }
    assert_eq!(State::from_parts("FAILED", None), None);
    assert_eq!(State::from_parts("COMPLETED", Some(declined())), None);
    assert_eq!(State::from_parts("SHIPPED", None), None);
}

#[test]
fn only_terminal_states_have_nothing_to_do() {
    for state in states() {
        assert_eq!(next(&state) == Next::Nothing, state.is_terminal(), "{state:?}");
    }
}

/// What a participant would have after the calls that a saga made, whatever their outcomes were.
#[derive(Default)]
struct World {
    held: bool,
    charged: bool,
    sold: bool,
}

proptest! {
    /// Any outcomes in any order, then only good ones: it ends, and the world agrees with the verdict.
    #[test]
    fn every_path_ends_with_books_that_agree(outcomes in proptest::collection::vec(0_u8..4, 0..40)) {
        let mut state = State::Initiated;
        let mut world = World::default();
        for outcome in outcomes.into_iter().chain(std::iter::repeat_n(0, 12)) {
            match next(&state) {
                Next::Nothing => break,
                Next::Record(intent) => state = intent,
                Next::Call(call) => {
                    // 0 done, 1 refused where that can be, 2 done with its answer lost, 3 never arrived
                    let refused = outcome == 1 && matches!(call, Call::Reserve | Call::Charge | Call::Confirm);
                    if outcome != 3 && !refused {
                        match call {
                            Call::Reserve => world.held = true,
                            Call::Charge => world.charged = true,
                            Call::Confirm => (world.held, world.sold) = (false, true),
                            Call::Release => world.held = false,
                            Call::Refund => world.charged = false,
                        }
                    }
                    // A participant that remembers answers a repeated call as it answered the first.
                    let already = match call {
                        Call::Charge => world.charged,
                        Call::Confirm => world.sold,
                        Call::Reserve => world.held,
                        Call::Release | Call::Refund => false,
                    };
                    state = apply(state, match outcome {
                        2 | 3 => Outcome::Unknown,
                        1 if refused && !already => Outcome::Refused(declined()),
                        _ => Outcome::Done,
                    });
                }
            }
        }
        prop_assert!(state.is_terminal(), "{:?}", state);
        let completed = state == State::Completed;
        prop_assert_eq!(world.charged, completed);
        prop_assert_eq!(world.sold, completed);
        prop_assert!(!world.held);
    }
}
