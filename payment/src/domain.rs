//! Payments and their rules.

mod rules;

use std::fmt;

use jiff::Timestamp;
use money::Money;
use uuid::Uuid;

pub use proto::ids::{CheckoutId, IdempotencyKey, PaymentMethod};
pub use rules::{ChargeStep, Contradiction, GetStep, NON_FINAL, RefundStep, next_state, on_charge, on_get, on_refund};

/// The id of a payment, created with its intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaymentId(pub Uuid);

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a provider declines a charge. A decline is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeclineReason {
    CardDeclined,
    InsufficientFunds,
    CardExpired,
    InvalidCvc,
    InvalidPaymentMethod,
}

impl DeclineReason {
    pub const ALL: [Self; 5] = [
        Self::CardDeclined,
        Self::InsufficientFunds,
        Self::CardExpired,
        Self::InvalidCvc,
        Self::InvalidPaymentMethod,
    ];

    /// The name in stores and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CardDeclined => "CARD_DECLINED",
            Self::InsufficientFunds => "INSUFFICIENT_FUNDS",
            Self::CardExpired => "CARD_EXPIRED",
            Self::InvalidCvc => "INVALID_CVC",
            Self::InvalidPaymentMethod => "INVALID_PAYMENT_METHOD",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// The state of a payment as this service knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The provider's answer is missing: it was called, or will be.
    Intent,
    Succeeded,
    Declined(DeclineReason),
    Refunded,
    /// The refund came before the charge: no money moved and none will.
    Cancelled,
}

/// The status of a key in the provider's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChargeStatus {
    Charged,
    Declined(DeclineReason),
    Refunded,
    /// The refund came before the charge: nothing was charged and nothing will be.
    Cancelled,
}

/// The amount and the method of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub amount: Money,
    pub method: PaymentMethod,
}

/// The part of a payment that its charge defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentDetails {
    pub payment_id: PaymentId,
    pub terms: Terms,
}

/// The payment of one checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The payment's key, here and at the provider.
    pub checkout_id: CheckoutId,
    /// `None` if the refund came before any charge.
    pub details: Option<PaymentDetails>,
    pub state: State,
    pub created_at: Timestamp,
}

impl Payment {
    /// A payment before the call to the provider.
    pub const fn intent(checkout_id: CheckoutId, details: PaymentDetails, created_at: Timestamp) -> Self {
        Self {
            checkout_id,
            details: Some(details),
            state: State::Intent,
            created_at,
        }
    }

    /// Whether the payment has other terms. One that was cancelled before its charge has none, so it does not differ.
    pub fn differs_from(&self, terms: &Terms) -> bool {
        self.details.as_ref().is_some_and(|details| details.terms != *terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decline_reason_is_a_documented_reason() {
        for reason in DeclineReason::ALL {
            assert_eq!(DeclineReason::parse(reason.as_str()), Some(reason));
            assert!(proto::Reason::parse(reason.as_str()).is_some(), "{reason:?}");
        }
        assert_eq!(DeclineReason::parse("NO_SUCH_REASON"), None);
    }
}
