//! The names of this service's commits, the same in every adapter.

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
