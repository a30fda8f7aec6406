//! Errors of the use cases as gRPC statuses. What is not the caller's fault is logged here, once.

use proto::{
    Reason,
    status::{Refusal, internal, unavailable},
};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

use crate::{
    app::{ChargeError, DependencyError, GetPaymentError},
    domain::{CheckoutId, DeclineReason},
    ports::ProviderError,
};

pub(super) fn charge(checkout: CheckoutId, error: ChargeError) -> Status {
    match error {
        ChargeError::Declined(reason) => declined(reason).into(),
        ChargeError::Cancelled => Refusal::new(Reason::PaymentCancelled, "the payment was cancelled").into(),
        ChargeError::TermsMismatch => Refusal::new(
            Reason::PaymentMismatch,
            "the checkout has a payment of another amount or method",
        )
        .into(),
        ChargeError::Dependency(error) => dependency(checkout, &error),
    }
}

pub(super) fn get_payment(checkout: CheckoutId, error: GetPaymentError) -> Status {
    match error {
        GetPaymentError::NotFound => Refusal::new(Reason::PaymentNotFound, "payment not found").into(),
        GetPaymentError::Dependency(error) => dependency(checkout, &error),
    }
}

pub(super) fn dependency(checkout: CheckoutId, failed: &DependencyError) -> Status {
    let error = chain(failed);
    match failed {
        DependencyError::Provider(ProviderError::Unknown(_)) => {
            tracing::warn!(
                %checkout,
                error,
                "the outcome at the provider is unknown; the next call for this checkout finds it out"
            );
            unavailable()
        }
        DependencyError::Store(StoreError::Unavailable(_)) => {
            tracing::error!(%checkout, error, "the payment store is unavailable");
            unavailable()
        }
        DependencyError::Provider(ProviderError::TermsMismatch)
        | DependencyError::Store(StoreError::Conflict | StoreError::Corrupt(_)) => {
            tracing::error!(%checkout, error, "the payment store and the provider disagree");
            internal()
        }
    }
}

fn declined(reason: DeclineReason) -> Refusal {
    match reason {
        DeclineReason::CardDeclined => Refusal::new(Reason::CardDeclined, "the card was declined"),
        DeclineReason::InsufficientFunds => Refusal::new(Reason::InsufficientFunds, "the card has insufficient funds"),
        DeclineReason::CardExpired => Refusal::new(Reason::CardExpired, "the card has expired"),
        DeclineReason::InvalidCvc => Refusal::new(Reason::InvalidCvc, "the card's security code is wrong"),
        DeclineReason::InvalidPaymentMethod => Refusal::new(
            Reason::InvalidPaymentMethod,
            "the payment method is not known to the provider",
        ),
    }
}
