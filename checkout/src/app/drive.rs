//! Drives one saga: does what the state machine says, and writes down what came of it before going on.

use std::time::Duration;

use events::Event;
use money::Amount;
use proto::events::{CheckoutCompleted, CheckoutFailed, PurchasedItem};
use runtime::{RequestContext, telemetry::chain};
use serde::Serialize;
use storage::StoreError;

use super::Sagas;
use crate::{
    domain::Checkout,
    ports::{Answer, Claimed, Payment, Record, Retry},
    saga::{self, Call, Next, Outcome, State},
};

const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Calls without a known outcome after which somebody should have a look: about half a minute of trying.
const BUDGET: u32 = 12;
const SLOW_BACKOFF: Duration = Duration::from_secs(30);

impl Sagas {
    /// Drives a saga to its end; returns earlier when the process stops or somebody else has claimed it.
    pub(super) async fn drive(&self, mut claimed: Claimed) {
        loop {
            let record = match saga::next(&claimed.checkout.state) {
                Next::Nothing => break self.endings.end(&claimed.checkout),
                Next::Record(intent) => Record {
                    steps: vec![self.step(intent, &claimed.checkout)],
                    ..Record::default()
                },
                Next::Call(call) => self.call(call, &claimed.checkout).await,
            };
            let record = self.complete(record, &claimed.checkout);
            if !self.write_down(&mut claimed, &record).await {
                return;
            }
            if let Some(retry) = record.retry
                && !self.tasks.sleep(retry.after).await
            {
                return;
            }
        }
    }

    /// Makes a call and says what is to be written down of it.
    async fn call(&self, call: Call, checkout: &Checkout) -> Record {
        let mut payment_id = None;
        let (id, ports) = (checkout.id, &self.ports);
        let answer = match call {
            Call::Reserve => ports.stock.reserve(id, &checkout.purchase.lines).await,
            Call::Charge => self.charge(checkout).await.map(|id| payment_id = Some(id)),
            Call::Confirm => ports.stock.confirm(id).await,
            Call::Release => ports.stock.release(id).await,
            Call::Refund => ports.payments.refund(id).await,
        };
        let outcome = match answer {
            Answer::Done(()) => Outcome::Done,
            Answer::Refused(failure) => Outcome::Refused(failure),
            Answer::Unknown(error) => {
                let (error, attempts) = (chain(&error), checkout.attempts);
                tracing::warn!(checkout = %id, ?call, error, attempts, "the outcome of a call is unknown");
                Outcome::Unknown
            }
        };
        let after = saga::apply(checkout.state.clone(), outcome);
        if after == checkout.state {
            return Record {
                retry: Some(retry(checkout.attempts + 1)),
                ..Record::default()
            };
        }
        Record {
            steps: vec![self.step(after, checkout)],
            payment_id,
            ..Record::default()
        }
    }

    /// Charges; where the answer is missing, asks what became of it.
    async fn charge(&self, checkout: &Checkout) -> Answer<String> {
        let (id, payments) = (checkout.id, &self.ports.payments);
        match payments.charge(id, checkout.purchase.total, &checkout.method).await {
            Answer::Unknown(status) => match payments.find(id).await {
                Ok(Payment::Succeeded { payment_id }) => Answer::Done(payment_id),
                Ok(Payment::Declined(failure)) => Answer::Refused(failure),
                Ok(Payment::Open) | Err(_) => Answer::Unknown(status),
            },
            known @ (Answer::Done(_) | Answer::Refused(_)) => known,
        }
    }

    fn step(&self, state: State, checkout: &Checkout) -> (State, jiff::Timestamp, String) {
        let detail = match (&state, &checkout.state) {
            (State::Failed(failure), State::Releasing(_)) => {
                format!(
                    "{}: {}; the stock is released",
                    failure.reason.as_str(),
                    failure.message
                )
            }
            (State::Failed(failure) | State::Releasing(failure) | State::Refunding(failure), _) => {
                format!("{}: {}", failure.reason.as_str(), failure.message)
            }
            (State::Initiated, _) => "cart and prices are frozen".to_owned(),
            (State::InventoryReserved, _) => "the stock is held".to_owned(),
            (State::PaymentPending, _) => "about to charge".to_owned(),
            (State::PaymentCompleted, _) => "charged".to_owned(),
            (State::Completed, _) => "the stock is sold".to_owned(),
        };
        (state, self.clock.now(), detail)
    }

    /// Adds what shares the commit: the intent that follows a step, and the event that a last step leads to.
    fn complete(&self, mut record: Record, checkout: &Checkout) -> Record {
        if let Some((state, ..)) = record.steps.last()
            && let Next::Record(intent) = saga::next(state)
        {
            record.steps.push(self.step(intent, checkout));
        }
        if let Some((state, ..)) = record.steps.last() {
            record.event = self.event(state, checkout);
        }
        record
    }

    /// Writes a record down, for as long as that takes. False when the saga is somebody else's now, or the process stops.
    async fn write_down(&self, claimed: &mut Claimed, record: &Record) -> bool {
        let id = claimed.checkout.id;
        let mut backoff = BACKOFF;
        loop {
            match self.ports.journal.record(claimed, record, &self.lease).await {
                Ok(version) => {
                    advance(&mut claimed.checkout, record, version);
                    if record.event.is_some() {
                        self.wake.wake();
                    }
                    return true;
                }
                Err(StoreError::Conflict) => {
                    tracing::info!(checkout = %id, "this saga has another driver now");
                    return false;
                }
                // Of a write that failed it is not known whether it happened; if it did, the next one is a conflict and
                // recovery goes on from there.
                Err(error) => {
                    tracing::warn!(checkout = %id, error = chain(&error), ?backoff, "the journal cannot be written; trying again");
                    if !self.tasks.sleep(backoff).await {
                        return false;
                    }
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            }
        }
    }

    /// The event that tells of a terminal state.
    fn event(&self, state: &State, checkout: &Checkout) -> Option<Event> {
        let now = self.clock.now();
        let (kind, name, data) = match state {
            State::Completed => (
                CheckoutCompleted::KIND,
                CheckoutCompleted::NAME,
                json(&completed(checkout, now)),
            ),
            State::Failed(failure) => {
                let event = CheckoutFailed {
                    checkout_id: checkout.id.0,
                    user_id: checkout.user.0.clone(),
                    reason: failure.reason.as_str().to_owned(),
                    message: failure.message.clone(),
                    failed_at: now,
                };
                (CheckoutFailed::KIND, CheckoutFailed::NAME, json(&event))
            }
            State::Initiated
            | State::InventoryReserved
            | State::PaymentPending
            | State::PaymentCompleted
            | State::Releasing(_)
            | State::Refunding(_) => return None,
        };
        Some(Event {
            id: self.ids.next(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            source: "/checkout".to_owned(),
            time: now,
            key: checkout.id.to_string(),
            context: RequestContext::current().unwrap_or_else(|| RequestContext::new(&self.ids)),
            data: data.into(),
        })
    }
}

impl<T> Answer<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Done(value) => Answer::Done(f(value)),
            Self::Refused(failure) => Answer::Refused(failure),
            Self::Unknown(status) => Answer::Unknown(status),
        }
    }
}

/// What the checkout is after a record was written.
fn advance(checkout: &mut Checkout, record: &Record, version: i64) {
    checkout.version = version;
    if let Some(id) = &record.payment_id {
        checkout.payment_id = Some(id.clone());
    }
    if let Some((state, at, _)) = record.steps.last() {
        checkout.state = state.clone();
        checkout.updated_at = *at;
        checkout.attempts = 0;
        checkout.needs_attention = false;
    }
    if let Some(retry) = record.retry {
        checkout.attempts = retry.attempts;
        checkout.needs_attention = retry.needs_attention;
    }
}

/// Exponential with a cap, half of it jitter.
fn retry(attempts: u32) -> Retry {
    let needs_attention = attempts > BUDGET;
    let full = if needs_attention {
        SLOW_BACKOFF
    } else {
        BACKOFF
            .saturating_mul(1 << attempts.saturating_sub(1).min(16))
            .min(MAX_BACKOFF)
    };
    let half = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX);
    Retry {
        after: full / 2 + Duration::from_millis(fastrand::u64(0..=half)),
        attempts,
        needs_attention,
    }
}

fn completed(checkout: &Checkout, now: jiff::Timestamp) -> CheckoutCompleted {
    let item = |line: &crate::domain::Line| PurchasedItem {
        product_id: line.product.0,
        product_name: line.name.clone(),
        quantity: line.quantity.get(),
        unit_price: Amount(line.unit_price.minor_units()),
        // The lines were added up when the purchase was made: they do not overflow.
        subtotal: Amount(line.unit_price.minor_units().saturating_mul(line.quantity.get())),
    };
    CheckoutCompleted {
        checkout_id: checkout.id.0,
        order_id: checkout.id.order_id(),
        user_id: checkout.user.0.clone(),
        items: checkout.purchase.lines.iter().map(item).collect(),
        total_amount: Amount(checkout.purchase.total.minor_units()),
        currency: checkout.purchase.total.currency(),
        payment_id: checkout.payment_id.clone().unwrap_or_default(),
        cart_version: checkout.purchase.cart_version,
        completed_at: now,
    }
}

fn json(event: &impl Serialize) -> Vec<u8> {
    // Plain structures of strings and numbers always serialize.
    serde_json::to_vec(event).unwrap_or_default()
}
