//! What the service needs from outside.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;

use crate::domain::{CheckoutId, Payment, Standing, Terms};

/// Payments, one row a checkout. Every method is one atomic unit and answers with the row as it is afterwards.
#[async_trait]
pub trait PaymentStore: Send + Sync {
    async fn load(&self, checkout: CheckoutId) -> Result<Option<Payment>, StoreError>;
    /// Keeps the intent, unless the checkout has a payment already: then that one stands.
    async fn open(&self, intent: &Payment) -> Result<Payment, StoreError>;
    /// Brings a payment to what the provider's books say, by the table [`crate::domain::after`], unless a newer answer was
    /// faster. A contradiction changes nothing and is `Corrupt`, as is a checkout that has no payment.
    async fn settle(&self, checkout: CheckoutId, standing: Standing, at: Timestamp) -> Result<Payment, StoreError>;
    /// The same for what a refund came to; a checkout that has no payment gets one, so that a late charge finds it.
    async fn refund(&self, checkout: CheckoutId, standing: Standing, at: Timestamp) -> Result<Payment, StoreError>;
    /// Whether the store answers.
    async fn is_up(&self) -> bool;
    /// What it does for callers that may have gone away: waited for when the service stops.
    fn transactions(&self) -> runtime::Tasks {
        runtime::Tasks::new()
    }
}

/// An outside company that moves money. It does each thing once per key: asked again, it gives the same answer.
///
/// Which payment methods there are is for the provider alone to say: one that it does not know it declines, as
/// `InvalidPaymentMethod`. The test methods of the simulated provider mean nothing to another.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// Charges, unless the key has an answer already.
    async fn charge(&self, key: CheckoutId, terms: &Terms) -> Result<Standing, ProviderError>;
    /// Gives back all of what was charged under the key. Before its charge it makes sure that there will be none. Never
    /// answers `Charged`.
    async fn refund(&self, key: CheckoutId) -> Result<Standing, ProviderError>;
    /// What its books say; `None` when it has not heard of the key.
    async fn find(&self, key: CheckoutId) -> Result<Option<Standing>, ProviderError>;
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a provider gave no answer that settles a payment.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It is down, or its answer did not come: it may have done what it was asked for, or not.
    #[error("it is not known what the provider did")]
    Unknown(#[source] Source),
    /// It has a charge of another amount or method under this key.
    #[error("the provider has another charge under this key")]
    OtherCharge,
}

impl ProviderError {
    pub fn unknown(source: impl Into<Source>) -> Self {
        Self::Unknown(source.into())
    }
}
