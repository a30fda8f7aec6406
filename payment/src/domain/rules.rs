//! The rules, as tables: what to do for a payment in a state, and what it becomes. Every pair is written out.

use super::{Standing, State};

/// What a charge does with the payment it finds or has just made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeStep {
    /// The first time, or again under the same key because the answer was lost.
    AskProvider,
    /// The row has the answer.
    Answer,
    /// The checkout's payment is of another amount or method.
    RefuseOther,
}

/// `differs`: the row is of another amount or method than the charge.
pub const fn on_charge(state: State, differs: bool) -> ChargeStep {
    match (state, differs) {
        (State::Intent, false) => ChargeStep::AskProvider,
        (State::Succeeded | State::Declined(_) | State::Refunded | State::Cancelled, false) => ChargeStep::Answer,
        (State::Intent | State::Succeeded | State::Declined(_) | State::Refunded | State::Cancelled, true) => {
            ChargeStep::RefuseOther
        }
    }
}

/// What a refund does with the payment it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStep {
    /// It gives back what it has charged, or leaves a mark against a late charge.
    AskProvider,
    /// There is nothing to give back, or it was given back before.
    Answer,
}

pub const fn on_refund(state: Option<State>) -> RefundStep {
    match state {
        None | Some(State::Intent | State::Succeeded) => RefundStep::AskProvider,
        Some(State::Declined(_) | State::Refunded | State::Cancelled) => RefundStep::Answer,
    }
}

/// How a question after a payment is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetStep {
    /// The answer may have been lost: the provider may know more.
    AskProvider,
    Answer,
}

pub const fn on_get(state: State) -> GetStep {
    match state {
        State::Intent => GetStep::AskProvider,
        State::Succeeded | State::Declined(_) | State::Refunded | State::Cancelled => GetStep::Answer,
    }
}

/// Our row and the provider's books cannot both be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payment is {state:?}, but the provider's books say {standing:?}")]
pub struct Contradiction {
    pub state: State,
    pub standing: Standing,
}

/// What a payment becomes when the provider's books say `standing`. An answer that comes after a newer one changes nothing.
#[allow(clippy::match_same_arms, reason = "a table, with a block for each state")]
pub const fn after(state: Option<State>, standing: Standing) -> Result<State, Contradiction> {
    match (state, standing) {
        (None | Some(State::Intent), Standing::Charged) => Ok(State::Succeeded),
        (None | Some(State::Intent), Standing::Declined(reason)) => Ok(State::Declined(reason)),
        (None | Some(State::Intent), Standing::Refunded) => Ok(State::Refunded),
        (None | Some(State::Intent), Standing::Cancelled) => Ok(State::Cancelled),

        (Some(State::Succeeded), Standing::Charged) => Ok(State::Succeeded),
        (Some(State::Succeeded), Standing::Refunded) => Ok(State::Refunded),
        (Some(state @ State::Succeeded), Standing::Declined(_) | Standing::Cancelled) => {
            Err(Contradiction { state, standing })
        }

        (Some(state @ State::Declined(_)), Standing::Declined(_)) => Ok(state),
        (Some(state @ State::Declined(_)), Standing::Charged | Standing::Refunded | Standing::Cancelled) => {
            Err(Contradiction { state, standing })
        }

        // The charge's answer was overtaken by the refund's.
        (Some(State::Refunded), Standing::Charged | Standing::Refunded) => Ok(State::Refunded),
        (Some(state @ State::Refunded), Standing::Declined(_) | Standing::Cancelled) => {
            Err(Contradiction { state, standing })
        }

        (Some(State::Cancelled), Standing::Cancelled) => Ok(State::Cancelled),
        (Some(state @ State::Cancelled), Standing::Charged | Standing::Declined(_) | Standing::Refunded) => {
            Err(Contradiction { state, standing })
        }
    }
}

/// The states from which [`after`] goes on to another one. All others are final.
pub const UNSETTLED: [State; 2] = [State::Intent, State::Succeeded];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeclineReason;

    const DECLINED: DeclineReason = DeclineReason::CardDeclined;
    const STANDINGS: [Standing; 4] = [
        Standing::Charged,
        Standing::Declined(DECLINED),
        Standing::Refunded,
        Standing::Cancelled,
    ];
    const SETTLED: [State; 4] = [
        State::Succeeded,
        State::Declined(DECLINED),
        State::Refunded,
        State::Cancelled,
    ];

    #[test]
    fn an_open_payment_becomes_what_the_books_say() {
        for (standing, state) in STANDINGS.into_iter().zip(SETTLED) {
            assert_eq!(after(Some(State::Intent), standing), Ok(state));
            assert_eq!(after(None, standing), Ok(state));
        }
    }

    #[test]
    fn the_same_answer_twice_changes_nothing() {
        for (standing, state) in STANDINGS.into_iter().zip(SETTLED) {
            assert_eq!(after(Some(state), standing), Ok(state));
        }
    }

    #[test]
    fn only_a_charge_that_was_refunded_moves_a_settled_payment() {
        for state in SETTLED {
            for standing in STANDINGS {
                let moved = after(Some(state), standing).is_ok_and(|new| new != state);
                assert_eq!(
                    moved,
                    state == State::Succeeded && standing == Standing::Refunded,
                    "{state:?} {standing:?}"
                );
            }
        }
    }

    #[test]
    fn only_unsettled_payments_move_and_an_answer_moves_them_all_to_one_state() {
        for standing in STANDINGS {
            for state in SETTLED.into_iter().chain([State::Intent]) {
                let moved = after(Some(state), standing).ok().filter(|new| *new != state);
                assert!(moved.is_none() || UNSETTLED.contains(&state), "{state:?} {standing:?}");
                assert!(
                    moved.is_none() || moved == after(None, standing).ok(),
                    "{state:?} {standing:?}"
                );
            }
        }
    }

    #[test]
    fn money_that_moved_is_never_written_off() {
        for state in [State::Declined(DECLINED), State::Cancelled] {
            assert!(after(Some(state), Standing::Charged).is_err());
        }
        assert!(after(Some(State::Succeeded), Standing::Cancelled).is_err());
    }

    #[test]
    fn the_provider_is_asked_only_while_its_answer_is_missing() {
        assert_eq!(on_charge(State::Intent, false), ChargeStep::AskProvider);
        assert_eq!(on_get(State::Intent), GetStep::AskProvider);
        for state in SETTLED {
            assert_eq!(on_charge(state, false), ChargeStep::Answer);
            assert_eq!(on_charge(state, true), ChargeStep::RefuseOther);
            assert_eq!(on_get(state), GetStep::Answer);
            let gives_back = on_refund(Some(state)) == RefundStep::AskProvider;
            assert_eq!(gives_back, state == State::Succeeded, "{state:?}");
        }
        assert_eq!(on_charge(State::Intent, true), ChargeStep::RefuseOther);
        assert_eq!(on_refund(Some(State::Intent)), RefundStep::AskProvider);
        assert_eq!(on_refund(None), RefundStep::AskProvider);
    }
}
