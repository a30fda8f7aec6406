//! The calls of the saga to the participants.

use std::sync::Arc;

use ::saga::{Calls, Outcome, Saga};
use async_trait::async_trait;
use runtime::telemetry::chain;

use super::{Call, CheckoutMachine};
use crate::{
    domain::{CheckoutId, Failure, UserId},
    ports::{Carts, Payment, Payments, PeerOutcome, Stock},
};

/// The services that take part in a purchase.
#[derive(Clone)]
pub struct Participants {
    pub carts: Arc<dyn Carts>,
    pub stock: Arc<dyn Stock>,
    pub payments: Arc<dyn Payments>,
}

#[async_trait]
impl Calls<CheckoutMachine> for Participants {
    async fn call(&self, call: Call, saga: &mut Saga<CheckoutMachine>) -> Outcome<Failure> {
        let (id, user) = (CheckoutId(saga.id.0), UserId::stored(saga.scope.clone()));
        let purchase = &saga.data.purchase;
        let outcome = match call {
            Call::Reserve => self.stock.reserve(id, &purchase.lines).await,
            Call::Hold => {
                let held = self.carts.hold(id, &user, purchase).await;
                held.map(|()| saga.data.held = true)
            }
            Call::Charge => {
                let charged = self.charge(id, saga).await;
                charged.map(|payment_id| saga.data.payment_id = Some(payment_id))
            }
            Call::Confirm => self.stock.confirm(id).await,
            Call::Release => self.stock.release(id).await,
            Call::GiveBack => self.carts.give_back(id, &user).await,
            Call::Refund => self.payments.refund(id).await,
        };
        match outcome {
            PeerOutcome::Done(()) => Outcome::Done,
            PeerOutcome::Refused(failure) => Outcome::Refused(failure),
            PeerOutcome::Unknown(error) => {
                let (error, attempts) = (chain(&error), saga.attempts + 1);
                tracing::warn!(?call, attempts, error, "the outcome of a call is unknown");
                Outcome::Unknown
            }
        }
    }
}

impl Participants {
    /// Charges. If the outcome is unknown, asks payment for it at once.
    async fn charge(&self, id: CheckoutId, saga: &Saga<CheckoutMachine>) -> PeerOutcome<String> {
        let (purchase, method) = (&saga.data.purchase, &saga.data.method);
        match self.payments.charge(id, purchase.total, method).await {
            PeerOutcome::Unknown(status) => match self.payments.find(id).await {
                Ok(Payment::Succeeded { payment_id }) => PeerOutcome::Done(payment_id),
                Ok(Payment::Declined(failure)) => PeerOutcome::Refused(failure),
                Ok(Payment::Open) | Err(_) => PeerOutcome::Unknown(status),
            },
            other @ (PeerOutcome::Done(_) | PeerOutcome::Refused(_)) => other,
        }
    }
}
