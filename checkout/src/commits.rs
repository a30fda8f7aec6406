//! The names of this service's commits, the same in every adapter.

use crate::saga::State;

pub const BEGIN: &str = "checkout.begin";
/// An attempt without a known outcome.
pub const RETRY: &str = "checkout.retry";
/// The intent to charge goes with the steps before it.
pub const RESERVED: &str = "checkout.reserved";
pub const PAID: &str = "checkout.paid";
pub const RELEASING: &str = "checkout.releasing";
pub const GIVING_BACK: &str = "checkout.giving_back";
pub const REFUNDING: &str = "checkout.refunding";
pub const COMPLETED: &str = "checkout.completed";
pub const FAILED: &str = "checkout.failed";
pub const CLAIM: &str = "checkout.claim";
pub const RELEASE: &str = "checkout.disown";
pub const ERASE: &str = "checkout.erase";
/// Nobody sends a checkout a signal yet.
pub(crate) const SIGNAL: &str = "checkout.signal";

/// What every shop commits.
pub const ALL: &[&str] = &[
    BEGIN,
    RETRY,
    RESERVED,
    PAID,
    RELEASING,
    GIVING_BACK,
    REFUNDING,
    COMPLETED,
    FAILED,
    CLAIM,
    RELEASE,
    ERASE,
];

/// The commit that leads to this state; `None` for an attempt.
pub(crate) const fn of(state: Option<&State>) -> &'static str {
    match state {
        None => RETRY,
        Some(State::Initiated) => BEGIN,
        Some(State::InventoryReserved | State::CartHeld | State::PaymentPending) => RESERVED,
        Some(State::PaymentCompleted) => PAID,
        Some(State::Releasing(_)) => RELEASING,
        Some(State::GivingBack(_)) => GIVING_BACK,
        Some(State::Refunding(_)) => REFUNDING,
        Some(State::Completed) => COMPLETED,
        Some(State::Failed(_)) => FAILED,
    }
}
