//! The labels of this service's commits, for `runtime::Points`. Both engines use the same labels.

pub const BEGIN: &str = "checkout.begin";
/// The saga will retry a call whose outcome is unknown.
pub const RETRY: &str = "checkout.retry";
/// One commit stores the intent to charge and the steps before it.
pub const RESERVED: &str = "checkout.reserved";
pub const PAID: &str = "checkout.paid";
pub const RELEASING: &str = "checkout.releasing";
pub const GIVING_BACK: &str = "checkout.giving_back";
pub const REFUNDING: &str = "checkout.refunding";
pub const COMPLETED: &str = "checkout.completed";
pub const FAILED: &str = "checkout.failed";
pub const CLAIM: &str = "checkout.claim";
pub const RELEASE_LEASES: &str = "checkout.disown";
pub const ERASE: &str = "checkout.erase";
/// Not used yet: no one sends a checkout a signal.
pub(crate) const SIGNAL: &str = "checkout.signal";

/// The labels that the crash suite must cover.
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
    RELEASE_LEASES,
    ERASE,
];
