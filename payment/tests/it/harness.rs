//! A payment service, with books that can be read and a provider that can be made to fail.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use money::Money;
use payment::{
    SuccessRate,
    app::{ChargeError, Failure, GetPaymentError, Payments},
    domain::{CheckoutId, DeclineReason, Payment, PaymentId, PaymentMethod, Standing, State, Terms},
    ports::{PaymentProvider, PaymentStore, ProviderError},
    provider::simulated::{Manner, SimulatedProvider},
};
use runtime::{Ids, Runtime};
use storage::StoreError;

use testing::{Fixture, SqliteFixture};

use crate::{books::Books, places::Stores};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Long enough for a write on a busy machine, short enough to wait for.
pub(crate) const IMPATIENCE: Duration = Duration::from_secs(1);

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

/// How a harness is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) timeout: Duration,
    pub(crate) success_rate: &'static str,
    pub(crate) latency: Duration,
    pub(crate) ids: Ids,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            timeout: PATIENCE,
            success_rate: "1.0",
            latency: Duration::ZERO,
            ids: Ids::random(),
        }
    }
}

impl Setup {
    pub(crate) fn impatient() -> Self {
        Self {
            timeout: IMPATIENCE,
            ..Self::default()
        }
    }
}

pub(crate) struct Harness {
    pub(crate) payments: Payments,
    pub(crate) provider: Arc<Faulty>,
    pub(crate) store: Arc<dyn PaymentStore>,
    pub(crate) books: Books,
    pub(crate) runtime: Runtime,
    /// Where it is, if nobody else knows.
    files: Option<SqliteFixture>,
}

impl Harness {
    /// On files of its own.
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::on(SqliteFixture::new().unwrap(), setup).await
    }

    /// The service as it is after a restart on its own files.
    pub(crate) async fn restarted(mut self, setup: Setup) -> Self {
        let files = self.files.take().unwrap();
        drop(self);
        Self::on(files, setup).await
    }

    async fn on(files: SqliteFixture, setup: Setup) -> Self {
        let mut harness = Self::at(&files, setup).await;
        harness.files = Some(files);
        harness
    }

    /// One more process of the service, if others are there already.
    pub(crate) async fn at(place: &dyn Stores, setup: Setup) -> Self {
        let runtime = Runtime {
            ids: setup.ids,
            ..Runtime::system()
        };
        let manner = Manner {
            success_rate: setup.success_rate.parse::<SuccessRate>().unwrap(),
            min_latency: setup.latency,
            max_latency: setup.latency,
            slow_reply: setup.timeout * 2,
        };
        let (store, ledger) = (place.store().await, place.ledger().await);
        let simulated = Arc::new(SimulatedProvider::new(ledger, manner, &runtime));
        let provider = Arc::new(Faulty::new(simulated, setup.timeout));
        let payments = Payments::new(store.clone(), provider.clone(), setup.timeout, &runtime);
        Self {
            payments,
            provider,
            store,
            books: place.books().await,
            runtime,
            files: None,
        }
    }

    pub(crate) async fn charge(&self, checkout: CheckoutId, terms: &Terms) -> Answer {
        Answer::of_charge(self.payments.charge(checkout, terms.clone()).await)
    }

    pub(crate) async fn refund(&self, checkout: CheckoutId) -> Answer {
        Answer::of_failure(self.payments.refund(checkout).await)
    }

    pub(crate) async fn get(&self, checkout: CheckoutId) -> Answer {
        match self.payments.get_payment(checkout).await {
            Ok(payment) => Answer::Payment(payment.state),
            Err(GetPaymentError::NotFound) => Answer::NotFound,
            Err(GetPaymentError::Failed(failure)) => Answer::of_failure(Err(failure)),
        }
    }

    /// The state of our row.
    pub(crate) async fn row(&self, checkout: CheckoutId) -> Option<State> {
        self.store.load(checkout).await.unwrap().map(|payment| payment.state)
    }
}

/// What a caller learns, in one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Charged(PaymentId),
    Payment(State),
    Declined(DeclineReason),
    Cancelled,
    OtherTerms,
    NotFound,
    /// Nobody knows what the provider did.
    Unavailable,
    StoreAway,
}

impl Answer {
    pub(crate) fn of_charge(result: Result<Payment, ChargeError>) -> Self {
        match result {
            Ok(payment) => {
                assert_eq!(payment.state, State::Succeeded);
                Self::Charged(payment.opened.unwrap().payment_id)
            }
            Err(ChargeError::Declined(reason)) => Self::Declined(reason),
            Err(ChargeError::Cancelled) => Self::Cancelled,
            Err(ChargeError::OtherTerms) => Self::OtherTerms,
            Err(ChargeError::Failed(failure)) => Self::of_failure(Err(failure)),
        }
    }

    fn of_failure(result: Result<Payment, Failure>) -> Self {
        match result {
            Ok(payment) => Self::Payment(payment.state),
            Err(Failure::Provider(ProviderError::Unknown(_))) => Self::Unavailable,
            Err(Failure::Store(StoreError::Unavailable(_))) => Self::StoreAway,
            Err(
                failure @ (Failure::Provider(ProviderError::OtherCharge)
                | Failure::Store(StoreError::Conflict | StoreError::Corrupt(_))),
            ) => panic!("not an answer: {failure:?}"),
        }
    }

    pub(crate) const fn is_charged(self) -> bool {
        matches!(self, Self::Charged(_))
    }
}

pub(crate) fn checkout() -> CheckoutId {
    CheckoutId(Ids::random().next())
}

pub(crate) fn terms(minor_units: i64, method: &str) -> Terms {
    Terms {
        amount: Money::usd(minor_units),
        method: PaymentMethod::new(method).unwrap(),
    }
}
