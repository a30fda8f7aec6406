//! The use cases: charge, refund, get a payment.

use std::{future::Future, sync::Arc, time::Duration};

use runtime::{Clock, Ids, Runtime};
use storage::StoreError;

use crate::{
    domain::{
        self, ChargeStep, CheckoutId, DeclineReason, GetStep, Payment, PaymentDetails, PaymentId, RefundStep, State,
        Terms,
    },
    ports::{PaymentProvider, PaymentStore, ProviderError},
};

/// Payments in front of one provider.
#[derive(Clone)]
pub struct Payments {
    store: Arc<dyn PaymentStore>,
    provider: Arc<dyn PaymentProvider>,
    provider_timeout: Duration,
    clock: Clock,
    ids: Ids,
}

/// Why a charge was not made.
#[derive(Debug)]
pub enum ChargeError {
    Declined(DeclineReason),
    /// The charge was refunded, or its refund came before it.
    Cancelled,
    /// The checkout has a payment with another amount or method.
    TermsMismatch,
    Dependency(DependencyError),
}

/// Why a payment cannot be shown.
#[derive(Debug)]
pub enum GetPaymentError {
    NotFound,
    Dependency(DependencyError),
}

/// The provider or the store failed. The payment may have changed nevertheless.
#[derive(Debug, thiserror::Error)]
pub enum DependencyError {
    #[error("the provider failed")]
    Provider(#[from] ProviderError),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl From<DependencyError> for ChargeError {
    fn from(error: DependencyError) -> Self {
        Self::Dependency(error)
    }
}

impl From<DependencyError> for GetPaymentError {
    fn from(error: DependencyError) -> Self {
        Self::Dependency(error)
    }
}

impl Payments {
    pub fn new(
        store: Arc<dyn PaymentStore>,
        provider: Arc<dyn PaymentProvider>,
        provider_timeout: Duration,
        runtime: &Runtime,
    ) -> Self {
        Self {
            store,
            provider,
            provider_timeout,
            clock: runtime.clock.clone(),
            ids: runtime.ids.clone(),
        }
    }

    /// Charges a checkout once. Every later call with the same terms gets the first answer again.
    pub async fn charge(&self, checkout: CheckoutId, terms: Terms) -> Result<Payment, ChargeError> {
        let found = self.record_intent(checkout, &terms).await?;
        let payment = match domain::on_charge(found.state, found.differs_from(&terms)) {
            ChargeStep::CallProvider => self.charge_at_provider(checkout, &terms).await?,
            ChargeStep::ReturnStored => found,
            ChargeStep::RefuseMismatch => return Err(ChargeError::TermsMismatch),
        };
        match payment.state {
            State::Succeeded => Ok(payment),
            State::Declined(reason) => Err(ChargeError::Declined(reason)),
            State::Refunded | State::Cancelled => Err(ChargeError::Cancelled),
            State::Intent => Err(ChargeError::Dependency(unsettled_after_answer())),
        }
    }

    /// Refunds what was charged for a checkout, and prevents any later charge for it.
    pub async fn refund(&self, checkout: CheckoutId) -> Result<Payment, DependencyError> {
        let found = self.store.load(checkout).await?;
        let payment = match (domain::on_refund(found.as_ref().map(|payment| payment.state)), found) {
            (RefundStep::ReturnStored, Some(payment)) => payment,
            // The provider is called first: a row that excludes later charges must hold at the provider too.
            (RefundStep::CallProvider | RefundStep::ReturnStored, _) => {
                let status = self.with_timeout(self.provider.refund(checkout)).await?;
                self.store.record_refund(checkout, status, self.clock.now()).await?
            }
        };
        match payment.state {
            State::Refunded | State::Cancelled | State::Declined(_) => Ok(payment),
            State::Intent | State::Succeeded => Err(unsettled_after_answer()),
        }
    }

    /// A checkout's payment. If the provider's answer was lost, the provider is queried.
    pub async fn get_payment(&self, checkout: CheckoutId) -> Result<Payment, GetPaymentError> {
        let found = self
            .store
            .load(checkout)
            .await
            .map_err(DependencyError::from)?
            .ok_or(GetPaymentError::NotFound)?;
        match domain::on_get(found.state) {
            GetStep::ReturnStored => Ok(found),
            GetStep::CallProvider => Ok(self.query_provider(found).await?),
        }
    }

    async fn record_intent(&self, checkout: CheckoutId, terms: &Terms) -> Result<Payment, DependencyError> {
        let details = PaymentDetails {
            payment_id: PaymentId(self.ids.next()),
            terms: terms.clone(),
        };
        Ok(self
            .store
            .record_intent(&Payment::intent(checkout, details, self.clock.now()))
            .await?)
    }

    async fn charge_at_provider(&self, checkout: CheckoutId, terms: &Terms) -> Result<Payment, DependencyError> {
        let status = self.with_timeout(self.provider.charge(checkout, terms)).await?;
        Ok(self.store.settle(checkout, status, self.clock.now()).await?)
    }

    async fn query_provider(&self, intent: Payment) -> Result<Payment, DependencyError> {
        match self.with_timeout(self.provider.find(intent.checkout_id)).await? {
            Some(status) => Ok(self.store.settle(intent.checkout_id, status, self.clock.now()).await?),
            None => Ok(intent),
        }
    }

    async fn with_timeout<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        tokio::time::timeout(self.provider_timeout, call)
            .await
            .unwrap_or_else(|_| Err(ProviderError::unknown("no answer within the timeout")))
    }
}

/// Every answer of a provider settles the payment: the store did not write it, or the provider broke its contract.
fn unsettled_after_answer() -> DependencyError {
    StoreError::corrupt("the payment is not settled although the provider has answered").into()
}
