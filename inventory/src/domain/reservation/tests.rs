//! The state table.

use money::Quantity;

use super::*;

fn lines(quantity: i64) -> Lines {
    Lines::add_up([(ProductId::new(1).unwrap(), Quantity::new(quantity).unwrap())]).unwrap()
}

fn reserve(state: State, first_answer: Option<Result<Timestamp, Refusal>>, quantity: i64) -> ReserveDecision {
    decide_reserve(
        Some(Reservation {
            state,
            lines: lines(2),
            first_answer,
        }),
        &lines(quantity),
    )
}

#[test]
fn state_names_round_trip() {
    for state in State::ALL {
        assert_eq!(State::parse(state.name()), Some(state));
    }
    assert_eq!(State::parse("GONE"), None);
}

#[test]
fn only_an_unknown_checkout_takes_stock() {
    assert_eq!(decide_reserve(None, &lines(2)), ReserveDecision::TakeStock);
    for state in State::ALL {
        let answer = reserve(state, Some(Ok(Timestamp::UNIX_EPOCH)), 2);
        assert_ne!(answer, ReserveDecision::TakeStock, "{state:?}");
    }
}

#[test]
fn a_duplicate_reserve_gets_the_first_answer_unless_it_was_released() {
    let answers = [Ok(Timestamp::UNIX_EPOCH), Err(Refusal::OutOfStock(Vec::new()))];
    for (state, first) in State::ALL
        .into_iter()
        .flat_map(|state| answers.clone().map(|first| (state, first)))
    {
        let expected = if state == State::Released {
            Err(Refusal::Released)
        } else {
            first.clone()
        };
        let again = reserve(state, Some(first), 2);
        assert_eq!(again, ReserveDecision::Replay(expected), "{state:?}");
    }
}

#[test]
fn a_reserve_with_other_lines_is_a_mismatch_unless_it_was_released() {
    for state in State::ALL {
        let refusal = if state == State::Released {
            Refusal::Released
        } else {
            Refusal::Mismatch
        };
        let answer = reserve(state, Some(Ok(Timestamp::UNIX_EPOCH)), 3);
        assert_eq!(answer, ReserveDecision::Replay(Err(refusal)), "{state:?}");
    }
}

#[test]
fn a_release_before_its_reserve_refuses_every_reserve() {
    for quantity in [2, 3] {
        let answer = reserve(State::Released, None, quantity);
        assert_eq!(answer, ReserveDecision::Replay(Err(Refusal::Released)));
    }
}

#[test]
fn final_states_never_change() {
    for state in [State::Confirmed, State::Released, State::Refused] {
        for command in [SettleCommand::Confirm, SettleCommand::Release] {
            let decision = decide_settle(command, Some(state));
            assert!(
                matches!(decision, SettleDecision::NothingToDo | SettleDecision::Refuse(_)),
                "{command:?} of {state:?}: {decision:?}"
            );
        }
    }
}

#[test]
fn only_held_reservations_move_stock() {
    let states = State::ALL.into_iter().map(Some).chain([None]);
    for state in states.filter(|state| *state != Some(State::Held)) {
        for command in [SettleCommand::Confirm, SettleCommand::Release] {
            let decision = decide_settle(command, state);
            assert!(
                !matches!(decision, SettleDecision::Transition(_, Some(_))),
                "{command:?} of {state:?}: {decision:?}"
            );
        }
    }
}

#[test]
fn only_an_expired_reservation_reacquires_stock() {
    for state in State::ALL {
        let reacquires = decide_settle(SettleCommand::Confirm, Some(state)) == SettleDecision::Reacquire;
        assert_eq!(reacquires, state == State::Expired, "{state:?}");
    }
}
