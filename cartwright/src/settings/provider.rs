//! The payment provider.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PaymentProvider {
    /// No money moves: charges and refunds are only recorded.
    Simulated,
}

impl PaymentProvider {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
        }
    }

    /// The payment method of a purchase that names none.
    pub(crate) fn default_method(self) -> Option<proto::ids::PaymentMethod> {
        match self {
            Self::Simulated => proto::ids::PaymentMethod::new(payment::provider::simulated::DEFAULT_METHOD),
        }
    }
}
