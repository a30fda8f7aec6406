//! The rules as tables: the next step for a payment in a state, and its next state. Every pair is written out.

use super::{ChargeStatus, State};

/// The next step of a charge, given its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeStep {
    /// The first call, or a repetition under the same key because the answer was lost.
    CallProvider,
    /// The row has the answer.
    ReturnStored,
    /// The checkout's payment has another amount or method.
    RefuseMismatch,
}

/// `differs`: the row has another amount or method than the charge.
pub const fn on_charge(state: State, differs: bool) -> ChargeStep {
    match (state, differs) {
        (State::Intent, false) => ChargeStep::CallProvider,
        (State::Succeeded | State::Declined(_) | State::Refunded | State::Cancelled, false) => ChargeStep::ReturnStored,
        (State::Intent | State::Succeeded | State::Declined(_) | State::Refunded | State::Cancelled, true) => {
            ChargeStep::RefuseMismatch
        }
    }
}

/// The next step of a refund, given its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStep {
    /// The provider refunds its charge, or leaves a tombstone that refuses a late charge.
    CallProvider,
    /// There is nothing to refund, or it was refunded before.
    ReturnStored,
}

pub const fn on_refund(state: Option<State>) -> RefundStep {
    match state {
        None | Some(State::Intent | State::Succeeded) => RefundStep::CallProvider,
        Some(State::Declined(_) | State::Refunded | State::Cancelled) => RefundStep::ReturnStored,
    }
}

/// The next step of a query for a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetStep {
    /// The answer may have been lost: the provider may have it.
    CallProvider,
    ReturnStored,
}

pub const fn on_get(state: State) -> GetStep {
    match state {
        State::Intent => GetStep::CallProvider,
        State::Succeeded | State::Declined(_) | State::Refunded | State::Cancelled => GetStep::ReturnStored,
    }
}

/// The payment and the provider's ledger cannot both be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payment is {state:?}, but the provider's ledger says {status:?}")]
pub struct Contradiction {
    pub state: State,
    pub status: ChargeStatus,
}

/// The next state of a payment whose status at the provider is `status`. An outdated status changes nothing.
#[allow(clippy::match_same_arms, reason = "a table, with a block for each state")]
pub const fn next_state(state: Option<State>, status: ChargeStatus) -> Result<State, Contradiction> {
    match (state, status) {
        (None | Some(State::Intent), ChargeStatus::Charged) => Ok(State::Succeeded),
        (None | Some(State::Intent), ChargeStatus::Declined(reason)) => Ok(State::Declined(reason)),
        (None | Some(State::Intent), ChargeStatus::Refunded) => Ok(State::Refunded),
        (None | Some(State::Intent), ChargeStatus::Cancelled) => Ok(State::Cancelled),

        (Some(State::Succeeded), ChargeStatus::Charged) => Ok(State::Succeeded),
        (Some(State::Succeeded), ChargeStatus::Refunded) => Ok(State::Refunded),
        (Some(state @ State::Succeeded), ChargeStatus::Declined(_) | ChargeStatus::Cancelled) => {
            Err(Contradiction { state, status })
        }

        (Some(state @ State::Declined(_)), ChargeStatus::Declined(_)) => Ok(state),
        (
            Some(state @ State::Declined(_)),
            ChargeStatus::Charged | ChargeStatus::Refunded | ChargeStatus::Cancelled,
        ) => Err(Contradiction { state, status }),

        // The answer to the charge arrived after the answer to the refund.
        (Some(State::Refunded), ChargeStatus::Charged | ChargeStatus::Refunded) => Ok(State::Refunded),
        (Some(state @ State::Refunded), ChargeStatus::Declined(_) | ChargeStatus::Cancelled) => {
            Err(Contradiction { state, status })
        }

        (Some(State::Cancelled), ChargeStatus::Cancelled) => Ok(State::Cancelled),
        (
            Some(state @ State::Cancelled),
            ChargeStatus::Charged | ChargeStatus::Declined(_) | ChargeStatus::Refunded,
        ) => Err(Contradiction { state, status }),
    }
}

/// The states that [`next_state`] can leave.
pub const NON_FINAL: [State; 2] = [State::Intent, State::Succeeded];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeclineReason;

    const DECLINED: DeclineReason = DeclineReason::CardDeclined;
    const STATUSES: [ChargeStatus; 4] = [
        ChargeStatus::Charged,
        ChargeStatus::Declined(DECLINED),
        ChargeStatus::Refunded,
        ChargeStatus::Cancelled,
    ];
    const SETTLED: [State; 4] = [
        State::Succeeded,
        State::Declined(DECLINED),
        State::Refunded,
        State::Cancelled,
    ];

    #[test]
    fn an_intent_takes_the_status_of_the_provider() {
        for (status, state) in STATUSES.into_iter().zip(SETTLED) {
            assert_eq!(next_state(Some(State::Intent), status), Ok(state));
            assert_eq!(next_state(None, status), Ok(state));
        }
    }

    #[test]
    fn the_same_answer_twice_changes_nothing() {
        for (status, state) in STATUSES.into_iter().zip(SETTLED) {
            assert_eq!(next_state(Some(state), status), Ok(state));
        }
    }

    #[test]
    fn a_settled_payment_changes_only_when_its_charge_is_refunded() {
        for state in SETTLED {
            for status in STATUSES {
                let moved = next_state(Some(state), status).is_ok_and(|new| new != state);
                assert_eq!(
                    moved,
                    state == State::Succeeded && status == ChargeStatus::Refunded,
                    "{state:?} {status:?}"
                );
            }
        }
    }

    #[test]
    fn final_states_never_change_and_a_status_leads_all_others_to_one_state() {
        for status in STATUSES {
            for state in SETTLED.into_iter().chain([State::Intent]) {
                let moved = next_state(Some(state), status).ok().filter(|new| *new != state);
                assert!(moved.is_none() || NON_FINAL.contains(&state), "{state:?} {status:?}");
                assert!(
                    moved.is_none() || moved == next_state(None, status).ok(),
                    "{state:?} {status:?}"
                );
            }
        }
    }

    #[test]
    fn a_charge_at_the_provider_never_becomes_a_decline_or_a_cancellation() {
        for state in [State::Declined(DECLINED), State::Cancelled] {
            assert!(next_state(Some(state), ChargeStatus::Charged).is_err());
        }
        assert!(next_state(Some(State::Succeeded), ChargeStatus::Cancelled).is_err());
    }

    #[test]
    fn the_provider_is_called_only_while_its_answer_is_missing() {
        assert_eq!(on_charge(State::Intent, false), ChargeStep::CallProvider);
        assert_eq!(on_get(State::Intent), GetStep::CallProvider);
        for state in SETTLED {
            assert_eq!(on_charge(state, false), ChargeStep::ReturnStored);
            assert_eq!(on_charge(state, true), ChargeStep::RefuseMismatch);
            assert_eq!(on_get(state), GetStep::ReturnStored);
            let calls_provider = on_refund(Some(state)) == RefundStep::CallProvider;
            assert_eq!(calls_provider, state == State::Succeeded, "{state:?}");
        }
        assert_eq!(on_charge(State::Intent, true), ChargeStep::RefuseMismatch);
        assert_eq!(on_refund(Some(State::Intent)), RefundStep::CallProvider);
        assert_eq!(on_refund(None), RefundStep::CallProvider);
    }
}
