//! A payment service with a provider that fails on demand and a ledger that tests can read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use money::Money;
use payment::{
    SuccessRate,
    app::{ChargeError, DependencyError, GetPaymentError, Payments},
    domain::{ChargeStatus, CheckoutId, DeclineReason, Payment, PaymentId, PaymentMethod, State, Terms},
    ports::{PaymentProvider, PaymentStore, ProviderError},
    provider::simulated::{Behaviour, SimulatedProvider},
};
use runtime::{Ids, Runtime};
use storage::StoreError;

use testing::{Fixture, SqliteFixture};

use crate::{fixtures::StoreFixture, ledger_audit::LedgerAudit};

/// A timeout that no test reaches.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// A timeout that tests wait for; long enough for a write on a busy machine.
pub(crate) const IMPATIENCE: Duration = Duration::from_secs(1);

/// A fault of one call to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The call does not reach the provider.
    Down,
    /// The provider executes the call, and the connection breaks.
    AnswerLost,
    /// The provider executes the call and never answers.
    NeverAnswers,
    /// The provider executes the call and answers after the caller's timeout.
    Slow,
}

/// A provider whose next calls fail as planned; calls after the plan have the fault `always`.
pub(crate) struct FaultyProvider {
    inner: Arc<dyn PaymentProvider>,
    plan: Mutex<VecDeque<Fault>>,
    always: Mutex<Fault>,
    calls: Mutex<Vec<Fault>>,
    timeout: Duration,
}

impl FaultyProvider {
    /// Without faults at first. A slow answer comes after twice the timeout.
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

    /// Takes the faults of the calls since the last call of this function.
    pub(crate) fn calls(&self) -> Vec<Fault> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    async fn with_fault<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
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
impl PaymentProvider for FaultyProvider {
    async fn charge(&self, key: CheckoutId, terms: &Terms) -> Result<ChargeStatus, ProviderError> {
        self.with_fault(self.inner.charge(key, terms)).await
    }

    async fn refund(&self, key: CheckoutId) -> Result<ChargeStatus, ProviderError> {
        self.with_fault(self.inner.refund(key)).await
    }

    async fn find(&self, key: CheckoutId) -> Result<Option<ChargeStatus>, ProviderError> {
        self.with_fault(self.inner.find(key)).await
    }
}

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
    pub(crate) provider: Arc<FaultyProvider>,
    pub(crate) store: Arc<dyn PaymentStore>,
    pub(crate) audit: LedgerAudit,
    pub(crate) runtime: Runtime,
    /// The SQLite files, if the harness owns them.
    files: Option<SqliteFixture>,
}

impl Harness {
    /// On new SQLite files.
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::on(SqliteFixture::new().unwrap(), setup).await
    }

    /// The service after a restart on the same files.
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

    /// A further process of the service on this fixture.
    pub(crate) async fn at(fixture: &dyn StoreFixture, setup: Setup) -> Self {
        let runtime = Runtime {
            ids: setup.ids,
            ..Runtime::system()
        };
        let behaviour = Behaviour {
            success_rate: setup.success_rate.parse::<SuccessRate>().unwrap(),
            min_latency: setup.latency,
            max_latency: setup.latency,
            slow_reply: setup.timeout * 2,
        };
        let (store, ledger) = (fixture.store().await, fixture.ledger().await);
        let simulated = Arc::new(SimulatedProvider::new(ledger, behaviour, &runtime));
        let provider = Arc::new(FaultyProvider::new(simulated, setup.timeout));
        let payments = Payments::new(store.clone(), provider.clone(), setup.timeout, &runtime);
        Self {
            payments,
            provider,
            store,
            audit: fixture.audit().await,
            runtime,
            files: None,
        }
    }

    pub(crate) async fn charge(&self, checkout: CheckoutId, terms: &Terms) -> Outcome {
        Outcome::of_charge(self.payments.charge(checkout, terms.clone()).await)
    }

    pub(crate) async fn refund(&self, checkout: CheckoutId) -> Outcome {
        Outcome::of_payment(self.payments.refund(checkout).await)
    }

    pub(crate) async fn get(&self, checkout: CheckoutId) -> Outcome {
        match self.payments.get_payment(checkout).await {
            Ok(payment) => Outcome::Payment(payment.state),
            Err(GetPaymentError::NotFound) => Outcome::NotFound,
            Err(GetPaymentError::Dependency(error)) => Outcome::of_payment(Err(error)),
        }
    }

    pub(crate) async fn state(&self, checkout: CheckoutId) -> Option<State> {
        self.store.load(checkout).await.unwrap().map(|payment| payment.state)
    }
}

/// The outcome of a call, as one comparable value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Charged(PaymentId),
    Payment(State),
    Declined(DeclineReason),
    Cancelled,
    TermsMismatch,
    NotFound,
    /// The provider may have executed the call or not.
    Unknown,
    StoreUnavailable,
}

impl Outcome {
    pub(crate) fn of_charge(result: Result<Payment, ChargeError>) -> Self {
        match result {
            Ok(payment) => {
                assert_eq!(payment.state, State::Succeeded);
                Self::Charged(payment.details.unwrap().payment_id)
            }
            Err(ChargeError::Declined(reason)) => Self::Declined(reason),
            Err(ChargeError::Cancelled) => Self::Cancelled,
            Err(ChargeError::TermsMismatch) => Self::TermsMismatch,
            Err(ChargeError::Dependency(error)) => Self::of_payment(Err(error)),
        }
    }

    fn of_payment(result: Result<Payment, DependencyError>) -> Self {
        match result {
            Ok(payment) => Self::Payment(payment.state),
            Err(DependencyError::Provider(ProviderError::Unknown(_))) => Self::Unknown,
            Err(DependencyError::Store(StoreError::Unavailable(_))) => Self::StoreUnavailable,
            Err(
                error @ (DependencyError::Provider(ProviderError::TermsMismatch)
                | DependencyError::Store(StoreError::Conflict | StoreError::Corrupt(_))),
            ) => panic!("unexpected: {error:?}"),
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
