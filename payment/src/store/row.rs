//! The columns of a payment, the same in both engines.

use money::Money;
use storage::{Row, StoreError};

use crate::domain::{CheckoutId, DeclineReason, Payment, PaymentDetails, PaymentId, PaymentMethod, State, Terms};

pub(super) const fn state_name(state: State) -> &'static str {
    match state {
        State::Intent => "INTENT",
        State::Succeeded => "SUCCEEDED",
        State::Declined(_) => "DECLINED",
        State::Refunded => "REFUNDED",
        State::Cancelled => "CANCELLED",
    }
}

pub(super) const fn decline_reason(state: State) -> Option<&'static str> {
    match state {
        State::Declined(reason) => Some(reason.as_str()),
        State::Intent | State::Succeeded | State::Refunded | State::Cancelled => None,
    }
}

fn state(name: &str, reason: Option<&str>) -> Result<State, StoreError> {
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

/// The amount, currency and method of a payment or of a charge in the provider's ledger.
pub(crate) fn terms(row: Row<'_>) -> Result<Terms, StoreError> {
    let currency = row.text("currency")?.parse().map_err(StoreError::corrupt)?;
    let method = PaymentMethod::new(row.text("method")?);
    Ok(Terms {
        amount: Money::new(row.integer("amount")?, currency),
        method: method.ok_or_else(|| StoreError::corrupt("the name of a payment method"))?,
    })
}

pub(super) fn payment(checkout_id: CheckoutId, row: Row<'_>) -> Result<Payment, StoreError> {
    let details = |id| {
        terms(row).map(|terms| PaymentDetails {
            payment_id: PaymentId(id),
            terms,
        })
    };
    let reason = row.text_or_null("decline_reason")?;
    Ok(Payment {
        checkout_id,
        details: row.uuid_or_null("payment_id")?.map(details).transpose()?,
        state: state(&row.text("state")?, reason.as_deref())?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn no_payment() -> StoreError {
    StoreError::corrupt("the checkout has no payment")
}
