//! What a payment is, and the rules it follows.

mod rules;

use std::fmt;

use jiff::Timestamp;
use money::Money;
use uuid::Uuid;

pub use proto::ids::{CheckoutId, IdempotencyKey, PaymentMethod};
pub use rules::{ChargeStep, Contradiction, GetStep, RefundStep, UNSETTLED, after, on_charge, on_get, on_refund};

/// Made once, with the intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaymentId(pub Uuid);

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a provider refuses a charge for good.
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

    /// Its name in stores and on the wire.
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

/// What we know of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The provider was or will be asked; its answer is not here.
    Intent,
    Succeeded,
    Declined(DeclineReason),
    Refunded,
    /// The refund came before the charge: no money moved and none will.
    Cancelled,
}

/// What the provider's books say of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    Charged,
    Declined(DeclineReason),
    /// Charged, and given back.
    Refunded,
    /// Nothing was charged, and nothing will be.
    Cancelled,
}

/// What is paid, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub amount: Money,
    pub method: PaymentMethod,
}

/// What a charge made of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub payment_id: PaymentId,
    pub terms: Terms,
}

/// The payment of one checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its key, here and at the provider.
    pub checkout_id: CheckoutId,
    /// `None` when its refund came before any charge.
    pub opened: Option<Opened>,
    pub state: State,
    pub created_at: Timestamp,
}

impl Payment {
    /// A payment that is about to be asked of the provider.
    pub const fn intent(checkout_id: CheckoutId, opened: Opened, created_at: Timestamp) -> Self {
        Self {
            checkout_id,
            opened: Some(opened),
            state: State::Intent,
            created_at,
        }
    }

    /// Whether it is of something else. One that was cancelled before it began is of nothing yet.
    pub fn differs_from(&self, terms: &Terms) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.terms != *terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decline_reason_is_one_that_clients_know() {
        for reason in DeclineReason::ALL {
            assert_eq!(DeclineReason::parse(reason.as_str()), Some(reason));
            assert!(proto::Reason::parse(reason.as_str()).is_some(), "{reason:?}");
        }
        assert_eq!(DeclineReason::parse("NO_SUCH_REASON"), None);
    }
}
