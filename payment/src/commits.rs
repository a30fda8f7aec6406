//! The names of the commits of this service and of its simulated provider, the same in every adapter.

pub const INTENT: &str = "payment.intent";
pub const SETTLE: &str = "payment.settle";
pub const REFUND: &str = "payment.refund";
pub const PROVIDER_CHARGE: &str = "provider.charge";
pub const PROVIDER_REFUND: &str = "provider.refund";

/// The labels that the crash suite must cover.
pub const ALL: &[&str] = &[INTENT, SETTLE, REFUND, PROVIDER_CHARGE, PROVIDER_REFUND];
