//! Payment providers: adapters of [`crate::ports::PaymentProvider`].

pub mod simulated;
