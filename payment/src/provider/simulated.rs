//! A provider that stands in for a real one. Its test methods show every way in which a provider can fail.

mod entry;
mod ledger;
mod postgres;
mod script;
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
    domain::{CheckoutId, DeclineReason, IdempotencyKey, Standing, Terms},
    ports::{PaymentProvider, ProviderError},
};

pub use ledger::{Attempt, Booked, ChargeId, Ledger, Order, Verdict};
pub use postgres::PostgresLedger;
use script::{Reply, Script};
pub use sqlite::SqliteLedger;

/// The method of a purchase that names none.
pub const DEFAULT_METHOD: &str = "pm_card_ok";

/// How the provider behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub success_rate: SuccessRate,
    /// It takes between `min_latency` and `max_latency` to do something it has not done yet.
    pub min_latency: Duration,
    pub max_latency: Duration,
    /// How late a slow answer is: longer than anybody waits for it.
    pub slow_reply: Duration,
}

/// The simulated provider.
pub struct SimulatedProvider {
    ledger: Arc<dyn Ledger>,
    manner: Manner,
    /// Luck and latency.
    random: Mutex<fastrand::Rng>,
    clock: Clock,
    ids: Ids,
    tasks: Tasks,
}

impl SimulatedProvider {
    /// Its luck follows from the ids of the runtime, so that a test which holds those holds it too.
    pub fn new(ledger: Arc<dyn Ledger>, manner: Manner, runtime: &Runtime) -> Self {
        // The lower half of an id is random.
        let (_, seed) = runtime.ids.next().as_u64_pair();
        Self {
            ledger,
            manner,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            clock: runtime.clock.clone(),
            ids: runtime.ids.clone(),
            tasks: runtime.tasks.clone(),
        }
    }

    fn with_random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn latency(&self) -> Duration {
        let Manner {
            min_latency,
            max_latency,
            ..
        } = self.manner;
        let spread = max_latency.saturating_sub(min_latency).as_nanos();
        let extra = self.with_random(|random| random.u64(0..=u64::try_from(spread).unwrap_or(u64::MAX)));
        min_latency + Duration::from_nanos(extra)
    }

    fn verdict(&self, script: Script) -> Verdict {
        let unlucky = || !self.with_random(|random| self.manner.success_rate.succeeds(|below| random.u32(0..below)));
        match script.verdict {
            Verdict::Succeeded if script.needs_luck && unlucky() => Verdict::Declined(DeclineReason::CardDeclined),
            verdict @ (Verdict::Succeeded | Verdict::Declined(_)) => verdict,
        }
    }

    /// Works as long as the latency says and then writes, even when the caller has stopped waiting: an outside company
    /// does not care. What is `done` already is answered at once.
    async fn process<T, F>(
        &self,
        key: IdempotencyKey,
        done: fn(Standing) -> bool,
        write: impl FnOnce(Arc<dyn Ledger>) -> F + Send + 'static,
    ) -> Result<T, ProviderError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (ledger, tasks, latency) = (self.ledger.clone(), self.tasks.clone(), self.latency());
        let work = self.tasks.spawn(async move {
            let waits = !latency.is_zero() && !ledger.find(&key).await?.is_some_and(done);
            if waits && !tasks.sleep(latency).await {
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
    async fn charge(&self, key: CheckoutId, terms: &Terms) -> Result<Standing, ProviderError> {
        let script = Script::of(terms.method.as_str());
        let key = IdempotencyKey::from(key);
        let order = Order {
            key: key.clone(),
            charge_id: ChargeId(self.ids.next()),
            terms: terms.clone(),
            verdict: self.verdict(script),
            down_for: script.down_for,
            at: self.clock.now(),
        };
        let attempt = self
            .process(key, |_| true, |ledger| async move { ledger.charge(order).await })
            .await?;
        // Only the first answer is lost or late. Nobody works any more, so this wait ends with the caller's.
        match script.reply {
            Reply::Lost if attempt.number == 1 => std::future::pending().await,
            Reply::Slow if attempt.number == 1 => tokio::time::sleep(self.manner.slow_reply).await,
            Reply::AtOnce | Reply::Lost | Reply::Slow => {}
        }
        match attempt.booked {
            Booked::Stands(standing) => Ok(standing),
            Booked::Down => Err(ProviderError::unknown("the provider is down")),
            Booked::OtherCharge => Err(ProviderError::OtherCharge),
        }
    }

    async fn refund(&self, key: CheckoutId) -> Result<Standing, ProviderError> {
        let key = IdempotencyKey::from(key);
        let at = self.clock.now();
        let refund = {
            let key = key.clone();
            move |ledger: Arc<dyn Ledger>| async move { ledger.refund(&key, at).await }
        };
        self.process(key, |standing| standing != Standing::Charged, refund)
            .await
    }

    async fn find(&self, key: CheckoutId) -> Result<Option<Standing>, ProviderError> {
        self.ledger.find(&key.into()).await.map_err(ProviderError::unknown)
    }
}
