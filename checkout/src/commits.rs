//! The names of this service's commits, for crash points.

pub(crate) const BEGIN: &str = "checkout.begin";
/// An attempt without a known outcome.
pub(crate) const RETRY: &str = "checkout.retry";
/// The intent to charge goes with the steps before it.
pub(crate) const RESERVED: &str = "checkout.reserved";
pub(crate) const PAID: &str = "checkout.paid";
pub(crate) const RELEASING: &str = "checkout.releasing";
pub(crate) const GIVING_BACK: &str = "checkout.giving_back";
pub(crate) const REFUNDING: &str = "checkout.refunding";
pub(crate) const COMPLETED: &str = "checkout.completed";
pub(crate) const FAILED: &str = "checkout.failed";
pub(crate) const CLAIM: &str = "checkout.claim";
pub(crate) const RELEASE: &str = "checkout.disown";
/// Nobody sends a checkout a signal yet.
pub(crate) const SIGNAL: &str = "checkout.signal";
pub(crate) const ERASE: &str = "checkout.erase";
