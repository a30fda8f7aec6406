//! Drives one saga: does what the state machine says, and writes down what came of it.

use std::time::Duration;

use events::Event;
use jiff::Timestamp;
use money::Amount;
use proto::events::{CheckoutCompleted, CheckoutFailed, PurchasedItem};
use runtime::{RequestContext, telemetry::chain};
use serde::Serialize;
use storage::StoreError;
use tokio::time::Instant;

use super::{Place, Sagas};
use crate::{
    domain::{Checkout, CheckoutId, Entry},
    ports::{Answer, Claimed, Lease, Payment, Record, Retry},
    saga::{self, Call, Next, Outcome, State},
};

const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Calls without a known outcome after which somebody should have a look: about half a minute of trying.
const BUDGET: u32 = 12;
const SLOW_BACKOFF: Duration = Duration::from_secs(30);

impl Sagas {
    /// Drives a saga to its end; returns earlier when the process stops or somebody else has claimed it.
    pub(super) async fn drive(&self, mut claimed: Claimed, mut place: Place) {
        while !claimed.checkout.state.is_terminal() {
            let (record, ahead) = self.go_on(claimed.checkout.clone()).await;
            let Some(version) = self.write_down(&claimed, &record).await else {
                return;
            };
            claimed.checkout = Checkout { version, ..ahead };
            if let Some(retry) = record.retry {
                drop(place);
                if !self.tasks.sleep(retry.after).await {
                    return self.hand_over(&claimed, retry).await;
                }
                place = self.place().await;
            }
        }
        self.endings.end(&claimed.checkout);
    }

    /// Goes as far as one commit reaches: returns what is to be written down, and the checkout as it is then.
    ///
    /// A crash before that commit loses nothing: see [`State::shares_its_commit`] for the steps that share one. They do so
    /// only while most of the lease is left, so that the saga is still ours when the last of their calls is made.
    async fn go_on(&self, mut ahead: Checkout) -> (Record, Checkout) {
        let began = Instant::now();
        let mut record = Record::default();
        loop {
            let shares = || ahead.state.shares_its_commit() && began.elapsed() < self.lease.ttl / 3;
            let state = match saga::next(&ahead.state) {
                Next::Record(intent) => intent,
                Next::Call(call) if record.steps.is_empty() || shares() => {
                    let after = self.call(call, &mut ahead).await;
                    if after == ahead.state {
                        let retry = retry(ahead.attempts + 1);
                        (ahead.attempts, ahead.needs_attention) = (retry.attempts, retry.needs_attention);
                        record.retry = Some(retry);
                        break;
                    }
                    after
                }
                Next::Call(_) | Next::Nothing => break,
            };
            let (at, detail) = (self.clock.now(), detail(&state, &ahead.state));
            record.steps.push((state.clone(), at, detail));
            ahead.held |= state == State::CartHeld;
            (ahead.state, ahead.updated_at) = (state, at);
            (ahead.attempts, ahead.needs_attention) = (0, false);
        }
        record.payment_id.clone_from(&ahead.payment_id);
        record.held = ahead.held;
        record.event = self.event(&ahead);
        (record, ahead)
    }

    /// Makes a call and says what state it leads to: the same one when its outcome is unknown.
    async fn call(&self, call: Call, checkout: &mut Checkout) -> State {
        let (id, ports) = (checkout.id, &self.ports);
        let answer = match call {
            Call::Reserve => ports.stock.reserve(id, &checkout.purchase.lines).await,
            Call::Charge => {
                let charged = self.charge(checkout).await;
                charged.map(|payment_id| checkout.payment_id = Some(payment_id))
            }
            Call::Hold => ports.carts.hold(id, &checkout.user, &checkout.purchase).await,
            Call::GiveBack => ports.carts.give_back(id, &checkout.user).await,
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
        saga::apply(checkout.state.clone(), outcome)
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

    /// Writes a record down, for as long as that takes, and returns the new version. None when the saga is somebody else's
    /// now, or the process stops.
    async fn write_down(&self, claimed: &Claimed, record: &Record) -> Option<i64> {
        let id = claimed.checkout.id;
        let mut backoff = BACKOFF;
        let mut in_doubt = false;
        let version = loop {
            let written = match self.ports.journal.record(claimed, record, &self.lease).await {
                Ok(version) => Ok(Some(version)),
                Err(StoreError::Conflict) if in_doubt => self.find_written(id, record).await,
                Err(StoreError::Conflict) => Ok(None),
                Err(error) => Err(error),
            };
            match written {
                Ok(Some(version)) => break version,
                Ok(None) => {
                    tracing::info!(checkout = %id, "this saga has another driver now");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(checkout = %id, error = chain(&error), ?backoff, "the journal cannot be written; trying again");
                    if !self.tasks.sleep(backoff).await {
                        return None;
                    }
                    (in_doubt, backoff) = (true, (backoff * 2).min(MAX_BACKOFF));
                }
            }
        };
        if record.event.is_some() {
            self.wake.wake();
        }
        Some(version)
    }

    /// The version that a record has led to, if it is the last that was written. Of a write that failed it is not known
    /// whether it happened; if it did, the next one is a conflict with oneself.
    async fn find_written(&self, id: CheckoutId, record: &Record) -> Result<Option<i64>, StoreError> {
        let Some((found, history)) = self.ports.journal.get(id, None).await? else {
            return Ok(None);
        };
        let is_step = |(entry, (state, at, detail)): (&Entry, &(State, Timestamp, String))| {
            entry.state == state.name() && entry.at.as_millisecond() == at.as_millisecond() && entry.detail == *detail
        };
        let mut last = history.iter().rev().zip(record.steps.iter().rev());
        let is_written = !record.steps.is_empty() && last.all(is_step);
        Ok(is_written.then_some(found.version))
    }

    /// Ends the lease on a saga that waits for its next try while this process stops: other replicas need not wait for it.
    async fn hand_over(&self, claimed: &Claimed, retry: Retry) {
        let record = Record {
            retry: Some(Retry {
                after: Duration::ZERO,
                ..retry
            }),
            ..Record::default()
        };
        let over = Lease {
            ttl: Duration::ZERO,
            ..self.lease.clone()
        };
        if let Err(error) = self.ports.journal.record(claimed, &record, &over).await {
            tracing::info!(checkout = %claimed.checkout.id, error = chain(&error), "this saga waits for its lease to end");
        }
    }

    /// The event that tells of a terminal state.
    fn event(&self, checkout: &Checkout) -> Option<Event> {
        let now = self.clock.now();
        let (kind, name, data) = match &checkout.state {
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
            | State::CartHeld
            | State::PaymentPending
            | State::PaymentCompleted
            | State::Releasing(_)
            | State::GivingBack(_)
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

/// What the history says of a step into `state` from `before`.
fn detail(state: &State, before: &State) -> String {
    match (state, before) {
        (State::Failed(failure), State::Releasing(_)) => {
            format!(
                "{}: {}; the stock is released",
                failure.reason.as_str(),
                failure.message
            )
        }
        (
            State::Failed(failure) | State::Releasing(failure) | State::GivingBack(failure) | State::Refunding(failure),
            _,
        ) => {
            format!("{}: {}", failure.reason.as_str(), failure.message)
        }
        (State::Initiated, _) => "cart and prices are frozen".to_owned(),
        (State::InventoryReserved, _) => "the stock is held".to_owned(),
        (State::CartHeld, _) => "the pieces of the cart are held".to_owned(),
        (State::PaymentPending, _) => "about to charge".to_owned(),
        (State::PaymentCompleted, _) => "charged".to_owned(),
        (State::Completed, _) => "the stock is sold".to_owned(),
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

fn completed(checkout: &Checkout, now: Timestamp) -> CheckoutCompleted {
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
        cart_version: checkout.purchase.cart.version,
        held: checkout.held,
        completed_at: now,
    }
}

fn json(event: &impl Serialize) -> Vec<u8> {
    // Plain structures of strings and numbers always serialize.
    serde_json::to_vec(event).unwrap_or_default()
}
