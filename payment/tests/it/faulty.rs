//! A provider that can be made to fail.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use payment::{
    domain::{CheckoutId, Standing, Terms},
    ports::{PaymentProvider, ProviderError},
};

/// What goes wrong with one call to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The provider does not hear of it.
    Down,
    /// The provider does its part, and the connection breaks.
    AnswerLost,
    /// The provider does its part, and nothing is ever heard of it.
    NeverAnswers,
    /// The provider does its part, and says so when nobody listens any more.
    Slow,
}

/// A provider whose next calls fail as planned. After the plan all calls get through.
pub(crate) struct Faulty {
    inner: Arc<dyn PaymentProvider>,
    plan: Mutex<VecDeque<Fault>>,
    /// Every call from now on.
    always: Mutex<Fault>,
    calls: Mutex<Vec<Fault>>,
    timeout: Duration,
}

impl Faulty {
    /// It fails nobody until it is told to. A slow answer comes after twice the timeout.
    pub(crate) fn new(inner: Arc<dyn PaymentProvider>, timeout: Duration) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
            always: Mutex::new(Fault::None),
            calls: Mutex::default(),
            timeout,
        }
    }

    pub(crate) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.plan.lock().unwrap() = faults.into_iter().collect();
    }

    pub(crate) fn always(&self, fault: Fault) {
        *self.always.lock().unwrap() = fault;
    }

    /// The faults of the calls since this was last asked.
    pub(crate) fn calls(&self) -> Vec<Fault> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    async fn through<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let fault = self
            .plan
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(*self.always.lock().unwrap());
        self.calls.lock().unwrap().push(fault);
        match fault {
            Fault::None => call.await,
            Fault::Down => Err(ProviderError::unknown("down")),
            Fault::AnswerLost => {
                call.await?;
                Err(ProviderError::unknown("connection reset"))
            }
            Fault::NeverAnswers => {
                call.await?;
                std::future::pending().await
            }
            Fault::Slow => {
                let answer = call.await;
                tokio::time::sleep(self.timeout * 2).await;
                answer
            }
        }
    }
}

#[async_trait]
impl PaymentProvider for Faulty {
    async fn charge(&self, key: CheckoutId, terms: &Terms) -> Result<Standing, ProviderError> {
        self.through(self.inner.charge(key, terms)).await
    }

    async fn refund(&self, key: CheckoutId) -> Result<Standing, ProviderError> {
        self.through(self.inner.refund(key)).await
    }

    async fn find(&self, key: CheckoutId) -> Result<Option<Standing>, ProviderError> {
        self.through(self.inner.find(key)).await
    }
}
