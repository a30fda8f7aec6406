//! The use cases: charge, refund, and what is known of a payment.

use std::{future::Future, sync::Arc, time::Duration};

use runtime::{Clock, Ids, Runtime};
use storage::StoreError;

use crate::{
    domain::{
        self, ChargeStep, CheckoutId, DeclineReason, GetStep, Opened, Payment, PaymentId, RefundStep, State, Terms,
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
    /// It was refunded, or its refund came first.
    Cancelled,
    /// The checkout has a payment of another amount or method.
    OtherTerms,
    Failed(Failure),
}

/// Why nothing can be said of a payment.
#[derive(Debug)]
pub enum GetPaymentError {
    NotFound,
    Failed(Failure),
}

/// What went wrong on our side of the counter. The payment may have moved.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the provider failed")]
    Provider(#[from] ProviderError),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl From<Failure> for ChargeError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Failure> for GetPaymentError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
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

    /// Charges once for a checkout. The first answer is given again to every later call with the same terms.
    pub async fn charge(&self, checkout: CheckoutId, terms: Terms) -> Result<Payment, ChargeError> {
        let found = self.open(checkout, &terms).await?;
        let payment = match domain::on_charge(found.state, found.differs_from(&terms)) {
            ChargeStep::AskProvider => self.ask_to_charge(checkout, &terms).await?,
            ChargeStep::Answer => found,
            ChargeStep::RefuseOther => return Err(ChargeError::OtherTerms),
        };
        match payment.state {
            State::Succeeded => Ok(payment),
            State::Declined(reason) => Err(ChargeError::Declined(reason)),
            State::Refunded | State::Cancelled => Err(ChargeError::Cancelled),
            State::Intent => Err(ChargeError::Failed(still_open())),
        }
    }

    /// Gives back what was charged for a checkout, and makes sure that nothing will be charged for it later.
    pub async fn refund(&self, checkout: CheckoutId) -> Result<Payment, Failure> {
        let found = self.store.load(checkout).await?;
        let payment = match (domain::on_refund(found.as_ref().map(|payment| payment.state)), found) {
            (RefundStep::Answer, Some(payment)) => payment,
            // The provider first: once the row says that nothing can be charged any more, that holds at the provider too.
            (RefundStep::AskProvider | RefundStep::Answer, _) => {
                let standing = self.within_timeout(self.provider.refund(checkout)).await?;
                self.store.refund(checkout, standing, self.clock.now()).await?
            }
        };
        match payment.state {
            State::Refunded | State::Cancelled | State::Declined(_) => Ok(payment),
            State::Intent | State::Succeeded => Err(still_open()),
        }
    }

    /// What is known of a checkout's payment. One whose answer was lost is looked up at the provider.
    pub async fn get_payment(&self, checkout: CheckoutId) -> Result<Payment, GetPaymentError> {
        let found = self
            .store
            .load(checkout)
            .await
            .map_err(Failure::from)?
            .ok_or(GetPaymentError::NotFound)?;
        match domain::on_get(found.state) {
            GetStep::Answer => Ok(found),
            GetStep::AskProvider => Ok(self.look_up(found).await?),
        }
    }

    async fn open(&self, checkout: CheckoutId, terms: &Terms) -> Result<Payment, Failure> {
        let opened = Opened {
            payment_id: PaymentId(self.ids.next()),
            terms: terms.clone(),
        };
        Ok(self
            .store
            .open(&Payment::intent(checkout, opened, self.clock.now()))
            .await?)
    }

    async fn ask_to_charge(&self, checkout: CheckoutId, terms: &Terms) -> Result<Payment, Failure> {
        let standing = self.within_timeout(self.provider.charge(checkout, terms)).await?;
        Ok(self.store.settle(checkout, standing, self.clock.now()).await?)
    }

    async fn look_up(&self, open: Payment) -> Result<Payment, Failure> {
        match self.within_timeout(self.provider.find(open.checkout_id)).await? {
            Some(standing) => Ok(self.store.settle(open.checkout_id, standing, self.clock.now()).await?),
            None => Ok(open),
        }
    }

    async fn within_timeout<T>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        tokio::time::timeout(self.provider_timeout, call)
            .await
            .unwrap_or_else(|_| Err(ProviderError::unknown("no answer within the time it has")))
    }
}

/// No answer of a provider leaves a payment open, so it was not written or the provider broke its word.
fn still_open() -> Failure {
    StoreError::corrupt("the payment is open after the provider has answered").into()
}
