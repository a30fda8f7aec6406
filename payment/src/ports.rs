//! The traits that the use cases need.

use async_trait::async_trait;
use jiff::Timestamp;
use storage::StoreError;

use crate::domain::{ChargeStatus, CheckoutId, Payment, Terms};

/// Payments, one row per checkout. Every method is one atomic unit and returns the row as it is afterwards.
#[async_trait]
pub trait PaymentStore: Send + Sync {
    async fn load(&self, checkout: CheckoutId) -> Result<Option<Payment>, StoreError>;
    /// Inserts the intent, unless the checkout has a payment already.
    async fn record_intent(&self, intent: &Payment) -> Result<Payment, StoreError>;
    /// Moves a payment to its [`crate::domain::next_state`] for this status at the provider. A contradiction changes
    /// nothing and is `Corrupt`, as is a checkout without a payment.
    async fn settle(&self, checkout: CheckoutId, status: ChargeStatus, at: Timestamp) -> Result<Payment, StoreError>;
    /// The same after a refund. A checkout without a payment gets a tombstone, which refuses a late charge.
    async fn record_refund(
        &self,
        checkout: CheckoutId,
        status: ChargeStatus,
        at: Timestamp,
    ) -> Result<Payment, StoreError>;
    async fn is_up(&self) -> bool;
    /// Transactions whose callers may have gone away; the service's stop waits for them.
    fn transactions(&self) -> runtime::Tasks;
}

/// An outside company that moves money. It does each operation once per key and repeats its answer.
///
/// The provider alone decides which payment methods exist: it declines an unknown one as `InvalidPaymentMethod`. No
/// other provider knows the test methods of the simulated one.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// Charges, unless the key has a status already.
    async fn charge(&self, key: CheckoutId, terms: &Terms) -> Result<ChargeStatus, ProviderError>;
    /// Refunds the whole charge of the key. A refund before its charge prevents the charge. Never returns `Charged`.
    async fn refund(&self, key: CheckoutId) -> Result<ChargeStatus, ProviderError>;
    /// The status of the key; `None` if the provider does not know it.
    async fn find(&self, key: CheckoutId) -> Result<Option<ChargeStatus>, ProviderError>;
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call to a provider did not settle a payment.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider is down or did not answer: it may have executed the call or not.
    #[error("it is not known what the provider did")]
    Unknown(#[source] Source),
    /// The provider has a charge with another amount or method under this key.
    #[error("the provider has another charge under this key")]
    TermsMismatch,
}

impl ProviderError {
    pub fn unknown(source: impl Into<Source>) -> Self {
        Self::Unknown(source.into())
    }
}
