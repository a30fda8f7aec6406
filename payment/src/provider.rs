//! Payment providers, each an outside company behind [`crate::ports::PaymentProvider`].

pub mod simulated;
