//! What each test method makes the provider do. No other provider knows these methods.

use super::{DEFAULT_METHOD, ledger::Verdict};
use crate::domain::DeclineReason;

/// How a charge goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) verdict: Verdict,
    /// Whether the success rate applies to it.
    pub(super) needs_luck: bool,
    /// What becomes of the answer to the first attempt.
    pub(super) reply: Reply,
    /// The attempts for which the provider is down.
    pub(super) down_for: u32,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    AtOnce,
    /// It never comes.
    Lost,
    /// It comes after everybody has stopped waiting for it.
    Slow,
}

impl Script {
    pub(super) fn of(method: &str) -> Self {
        match method {
            DEFAULT_METHOD => Self {
                needs_luck: true,
                ..Self::SUCCESS
            },
            "pm_card_declined" => Self::declined(DeclineReason::CardDeclined),
            "pm_card_insufficient_funds" => Self::declined(DeclineReason::InsufficientFunds),
            "pm_card_expired" => Self::declined(DeclineReason::CardExpired),
            "pm_card_invalid_cvc" => Self::declined(DeclineReason::InvalidCvc),
            "pm_card_charged_reply_lost" => Self {
                reply: Reply::Lost,
                ..Self::SUCCESS
            },
            "pm_card_slow" => Self {
                reply: Reply::Slow,
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
        verdict: Verdict::Succeeded,
        needs_luck: false,
        reply: Reply::AtOnce,
        down_for: 0,
    };

    const fn declined(reason: DeclineReason) -> Self {
        Self {
            verdict: Verdict::Declined(reason),
            ..Self::SUCCESS
        }
    }
}
