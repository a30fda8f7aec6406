//! Conversions between messages and domain values.

use proto::{
    convert::{payment_method, timestamp},
    payment::v1 as wire,
    status::Refusal,
};

use crate::domain::{Payment, State, Terms};

pub(super) fn terms(amount: Option<proto::money::v1::Money>, method: &str) -> Result<Terms, Refusal> {
    let amount = proto::convert::money("amount", amount)?;
    if !amount.is_positive() {
        return Err(Refusal::field(
            "amount.minor_units",
            "amount.minor_units must be positive",
        ));
    }
    Ok(Terms {
        amount,
        method: payment_method(method)?,
    })
}

pub(super) fn payment(payment: Payment) -> wire::Payment {
    let (payment_id, amount) = match payment.details {
        Some(details) => (details.payment_id.to_string(), Some(details.terms.amount.into())),
        None => (String::new(), None),
    };
    let (status, decline_reason) = match payment.state {
        State::Intent => (wire::PaymentStatus::Pending, ""),
        State::Succeeded => (wire::PaymentStatus::Succeeded, ""),
        State::Declined(reason) => (wire::PaymentStatus::Declined, reason.as_str()),
        State::Refunded => (wire::PaymentStatus::Refunded, ""),
        State::Cancelled => (wire::PaymentStatus::Cancelled, ""),
    };
    wire::Payment {
        payment_id,
        checkout_id: payment.checkout_id.to_string(),
        amount,
        status: status.into(),
        decline_reason: decline_reason.to_owned(),
        created_at: Some(timestamp(payment.created_at)),
    }
}
