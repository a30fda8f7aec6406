//! What a row says of a payment: the same words in every database.

use money::Money;
use storage::StoreError;

use crate::domain::{DeclineReason, PaymentMethod, State, Terms};

/// The name of a state.
pub(super) const fn name(state: State) -> &'static str {
    match state {
        State::Intent => "INTENT",
        State::Succeeded => "SUCCEEDED",
        State::Declined(_) => "DECLINED",
        State::Refunded => "REFUNDED",
        State::Cancelled => "CANCELLED",
    }
}

/// What else there is to say of a state.
pub(super) const fn decline_reason(state: State) -> Option<&'static str> {
    match state {
        State::Declined(reason) => Some(reason.as_str()),
        State::Intent | State::Succeeded | State::Refunded | State::Cancelled => None,
    }
}

pub(super) fn state(name: &str, reason: Option<&str>) -> Result<State, StoreError> {
    let state = match name {
        "INTENT" => Some(State::Intent),
        "SUCCEEDED" => Some(State::Succeeded),
        "DECLINED" => reason.and_then(DeclineReason::parse).map(State::Declined),
        "REFUNDED" => Some(State::Refunded),
        "CANCELLED" => Some(State::Cancelled),
        _ => None,
    };
    state.ok_or_else(|| StoreError::corrupt(format!("no such state: {name}, {reason:?}")))
}

pub(crate) fn terms(amount: i64, currency: &str, method: &str) -> Result<Terms, StoreError> {
    let method = PaymentMethod::new(method);
    Ok(Terms {
        amount: Money::new(amount, currency.parse().map_err(StoreError::corrupt)?),
        method: method.ok_or_else(|| StoreError::corrupt("the name of a payment method"))?,
    })
}

/// A payment that must be there is not.
pub(super) fn missing() -> StoreError {
    StoreError::corrupt("the checkout has no payment")
}
