//! The wire's values and ours.

use proto::{convert::timestamp, payment::v1 as wire, status::Refusal};
use uuid::Uuid;

use crate::domain::{CheckoutId, Payment, PaymentMethodError, State, Terms};

/// The length of a UUID with its hyphens, the one form that is taken.
const UUID_LENGTH: usize = 36;

pub(super) fn checkout_id(text: &str) -> Result<CheckoutId, Refusal> {
    let wrong = || Refusal::field("checkout_id", "checkout_id must be a UUID");
    if text.len() != UUID_LENGTH {
        return Err(wrong());
    }
    Uuid::parse_str(text).map(CheckoutId).map_err(|_| wrong())
}

pub(super) fn terms(amount: Option<proto::money::v1::Money>, method: &str) -> Result<Terms, Refusal> {
    let amount = proto::convert::money("amount", amount)?;
    if !amount.is_positive() {
        return Err(Refusal::field(
            "amount.minor_units",
            "amount.minor_units must be positive",
        ));
    }
    let method = method
        .parse()
        .map_err(|wrong: PaymentMethodError| Refusal::field("payment_method", wrong.to_string()))?;
    Ok(Terms { amount, method })
}

pub(super) fn payment(payment: Payment) -> wire::Payment {
    let (payment_id, amount) = match payment.opened {
        Some(opened) => (opened.payment_id.to_string(), Some(opened.terms.amount.into())),
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
