//! Who moves the money.

use clap::ValueEnum;

/// The payment provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PaymentProvider {
    /// None: charges and refunds are only written down.
    Simulated,
}

impl PaymentProvider {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
        }
    }

    /// What is charged when a purchase names no payment method.
    pub(crate) fn default_method(self) -> Option<proto::ids::PaymentMethod> {
        match self {
            Self::Simulated => proto::ids::PaymentMethod::new(payment::provider::simulated::DEFAULT_METHOD),
        }
    }
}
