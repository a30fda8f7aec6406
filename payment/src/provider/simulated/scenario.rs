//! The test methods and the scenario of each. No other provider knows these methods.

use super::{DEFAULT_METHOD, ledger::Decision};
use crate::domain::DeclineReason;

/// How the provider treats a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) decision: Decision,
    /// Whether the success rate applies.
    pub(super) uses_success_rate: bool,
    /// How the answer to the first attempt is delivered.
    pub(super) delivery: Delivery,
    /// The number of first attempts for which the provider is down.
    pub(super) down_for: u32,
}

/// How an answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    AtOnce,
    /// Never.
    Lost,
    /// After the caller's timeout.
    Slow,
}

impl Scenario {
    pub(super) fn of(method: &str) -> Self {
        match method {
            DEFAULT_METHOD => Self {
                uses_success_rate: true,
                ..Self::SUCCESS
            },
            "pm_card_declined" => Self::declined(DeclineReason::CardDeclined),
            "pm_card_insufficient_funds" => Self::declined(DeclineReason::InsufficientFunds),
            "pm_card_expired" => Self::declined(DeclineReason::CardExpired),
            "pm_card_invalid_cvc" => Self::declined(DeclineReason::InvalidCvc),
            "pm_card_charged_reply_lost" => Self {
                delivery: Delivery::Lost,
                ..Self::SUCCESS
            },
            "pm_card_slow" => Self {
                delivery: Delivery::Slow,
                ..Self::SUCCESS
            },
            "pm_card_unavailable" => Self {
                down_for: 3,
                ..Self::SUCCESS
            },
            _ => Self::declined(DeclineReason::InvalidPaymentMethod),
        }
    }

    const SUCCESS: Self = Self {
        decision: Decision::Succeeded,
        uses_success_rate: false,
        delivery: Delivery::AtOnce,
        down_for: 0,
    };

    const fn declined(reason: DeclineReason) -> Self {
        Self {
            decision: Decision::Declined(reason),
            ..Self::SUCCESS
        }
    }
}
