//! A simulated provider. Its test methods show every way in which a provider can fail.

mod entry;
mod ledger;
mod postgres;
mod scenario;
mod sqlite;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use runtime::{Clock, Ids, Runtime, Tasks};
use storage::StoreError;

use crate::{
    SuccessRate,
    domain::{ChargeStatus, CheckoutId, DeclineReason, IdempotencyKey, Terms},
    ports::{PaymentProvider, ProviderError},
};

pub use ledger::{AttemptOutcome, AttemptResult, ChargeAttempt, ChargeId, Decision, ProviderLedger};
pub use postgres::PostgresProviderLedger;
use scenario::{Delivery, Scenario};
pub use sqlite::SqliteProviderLedger;

/// The payment method of a purchase that names none.
pub const DEFAULT_METHOD: &str = "pm_card_ok";

/// How the provider behaves.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    pub success_rate: SuccessRate,
    /// New work takes between `min_latency` and `max_latency`; repeated answers come at once.
    pub min_latency: Duration,
    pub max_latency: Duration,
    /// The delay of a slow answer: longer than the caller's timeout.
    pub slow_reply: Duration,
}

pub struct SimulatedProvider {
    ledger: Arc<dyn ProviderLedger>,
    behaviour: Behaviour,
    /// For the success rate and the latency.
    rng: Mutex<fastrand::Rng>,
    clock: Clock,
    ids: Ids,
    tasks: Tasks,
}

impl SimulatedProvider {
    /// The random numbers are seeded from the runtime's ids: a test with fixed ids gets fixed outcomes.
    pub fn new(ledger: Arc<dyn ProviderLedger>, behaviour: Behaviour, runtime: &Runtime) -> Self {
        // The lower half of an id is random.
        let (_, seed) = runtime.ids.next().as_u64_pair();
        Self {
            ledger,
            behaviour,
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            clock: runtime.clock.clone(),
            ids: runtime.ids.clone(),
            tasks: runtime.tasks.clone(),
        }
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn latency(&self) -> Duration {
        let Behaviour {
            min_latency,
            max_latency,
            ..
        } = self.behaviour;
        let spread = max_latency.saturating_sub(min_latency).as_nanos();
        let extra = self.with_rng(|rng| rng.u64(0..=u64::try_from(spread).unwrap_or(u64::MAX)));
        min_latency + Duration::from_nanos(extra)
    }

    fn decision(&self, scenario: Scenario) -> Decision {
        let declined = || !self.with_rng(|rng| self.behaviour.success_rate.succeeds(|below| rng.u32(0..below)));
        match scenario.decision {
            Decision::Succeeded if scenario.uses_success_rate && declined() => {
                Decision::Declined(DeclineReason::CardDeclined)
            }
            decision @ (Decision::Succeeded | Decision::Declined(_)) => decision,
        }
    }

    /// Waits for the latency and then writes, even if the caller has gone away: an outside company does not notice. A
    /// key whose status is `done` is answered without latency.
    async fn process<T, F>(
        &self,
        key: IdempotencyKey,
        done: fn(ChargeStatus) -> bool,
        write: impl FnOnce(Arc<dyn ProviderLedger>) -> F + Send + 'static,
    ) -> Result<T, ProviderError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (ledger, tasks, latency) = (self.ledger.clone(), self.tasks.clone(), self.latency());
        let work = self.tasks.spawn(async move {
            let is_new = !latency.is_zero() && !ledger.find(&key).await?.is_some_and(done);
            if is_new && !tasks.sleep(latency).await {
                return Err(StoreError::unavailable("the provider is closing down"));
            }
            write(ledger).await
        });
        work.await
            .map_err(ProviderError::unknown)?
            .map_err(ProviderError::unknown)
    }
}

#[async_trait]
impl PaymentProvider for SimulatedProvider {
    async fn charge(&self, key: CheckoutId, terms: &Terms) -> Result<ChargeStatus, ProviderError> {
        let scenario = Scenario::of(terms.method.as_str());
        let key = IdempotencyKey::from(key);
        let attempt = ChargeAttempt {
            key: key.clone(),
            charge_id: ChargeId(self.ids.next()),
            terms: terms.clone(),
            decision: self.decision(scenario),
            down_for: scenario.down_for,
            at: self.clock.now(),
        };
        let result = self
            .process(key, |_| true, |ledger| async move { ledger.charge(attempt).await })
            .await?;
        // Only the first answer is lost or slow. The charge is done, so this wait ends when the caller goes away.
        match scenario.delivery {
            Delivery::Lost if result.number == 1 => std::future::pending().await,
            Delivery::Slow if result.number == 1 => tokio::time::sleep(self.behaviour.slow_reply).await,
            Delivery::AtOnce | Delivery::Lost | Delivery::Slow => {}
        }
        match result.outcome {
            AttemptOutcome::Recorded(status) => Ok(status),
            AttemptOutcome::Down => Err(ProviderError::unknown("the provider is down")),
            AttemptOutcome::TermsMismatch => Err(ProviderError::TermsMismatch),
        }
    }

    async fn refund(&self, key: CheckoutId) -> Result<ChargeStatus, ProviderError> {
        let key = IdempotencyKey::from(key);
        let at = self.clock.now();
        let refund = {
            let key = key.clone();
            move |ledger: Arc<dyn ProviderLedger>| async move { ledger.refund(&key, at).await }
        };
        self.process(key, |status| status != ChargeStatus::Charged, refund)
            .await
    }

    async fn find(&self, key: CheckoutId) -> Result<Option<ChargeStatus>, ProviderError> {
        self.ledger.find(&key.into()).await.map_err(ProviderError::unknown)
    }
}
