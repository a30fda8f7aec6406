//! The table, read from the outside.

use money::Quantity;

use super::*;

fn lines(quantity: i64) -> Lines {
    Lines::add_up([(ProductId::new(1).unwrap(), Quantity::new(quantity).unwrap())]).unwrap()
}

fn reserve(state: State, first_answer: Option<Result<Timestamp, Refusal>>, quantity: i64) -> OnReserve {
    on_reserve(
        Some(Reservation {
            state,
            lines: lines(2),
            first_answer,
        }),
        &lines(quantity),
    )
}

#[test]
fn states_and_their_names_are_one_to_one() {
    for state in State::ALL {
        assert_eq!(State::parse(state.name()), Some(state));
    }
    assert_eq!(State::parse("GONE"), None);
}

#[test]
fn only_an_unknown_checkout_takes_stock() {
    assert_eq!(on_reserve(None, &lines(2)), OnReserve::Take);
    for state in State::ALL {
        let answer = reserve(state, Some(Ok(Timestamp::UNIX_EPOCH)), 2);
        assert_ne!(answer, OnReserve::Take, "{state:?}");
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
        assert_eq!(again, OnReserve::Answer(expected), "{state:?}");
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
        assert_eq!(answer, OnReserve::Answer(Err(refusal)), "{state:?}");
    }
}

#[test]
fn a_release_that_came_first_refuses_every_reserve() {
    for quantity in [2, 3] {
        let answer = reserve(State::Released, None, quantity);
        assert_eq!(answer, OnReserve::Answer(Err(Refusal::Released)));
    }
}

#[test]
fn sold_stock_and_given_up_reservations_never_move_again() {
    for state in [State::Confirmed, State::Released, State::Refused] {
        for settlement in [Settlement::Confirm, Settlement::Release] {
            let step = on_settlement(settlement, Some(state));
            assert!(
                matches!(step, Step::Nothing | Step::Refuse(_)),
                "{settlement:?} of {state:?}: {step:?}"
            );
        }
    }
}

#[test]
fn stock_moves_only_out_of_a_hold() {
    let states = State::ALL.into_iter().map(Some).chain([None]);
    for state in states.filter(|state| *state != Some(State::Held)) {
        for settlement in [Settlement::Confirm, Settlement::Release] {
            let step = on_settlement(settlement, state);
            assert!(
                !matches!(step, Step::Become(_, Some(_))),
                "{settlement:?} of {state:?}: {step:?}"
            );
        }
    }
}

#[test]
fn only_what_expired_is_taken_again() {
    for state in State::ALL {
        let taken_again = on_settlement(Settlement::Confirm, Some(state)) == Step::TakeAgain;
        assert_eq!(taken_again, state == State::Expired, "{state:?}");
    }
}
