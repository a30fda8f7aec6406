//! The calls of the saga, to the services that take part.

use std::sync::Arc;

use ::saga::{Calls, Outcome, Saga};
use async_trait::async_trait;
use runtime::telemetry::chain;

use super::{Call, CheckoutMachine};
use crate::{
    domain::{CheckoutId, Failure, UserId},
    ports::{Answer, Carts, Payment, Payments, Stock},
};

/// Those who take part in a purchase.
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
        let answer = match call {
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
        match answer {
            Answer::Done(()) => Outcome::Done,
            Answer::Refused(failure) => Outcome::Refused(failure),
            Answer::Unknown(error) => {
                tracing::warn!(?call, error = chain(&error), "no answer that can be relied on");
                Outcome::Unknown
            }
        }
    }
}

impl Participants {
    /// Charges; where the answer is missing, asks what became of it.
    async fn charge(&self, id: CheckoutId, saga: &Saga<CheckoutMachine>) -> Answer<String> {
        let (purchase, method) = (&saga.data.purchase, &saga.data.method);
        match self.payments.charge(id, purchase.total, method).await {
            Answer::Unknown(status) => match self.payments.find(id).await {
                Ok(Payment::Succeeded { payment_id }) => Answer::Done(payment_id),
                Ok(Payment::Declined(failure)) => Answer::Refused(failure),
                Ok(Payment::Open) | Err(_) => Answer::Unknown(status),
            },
            known @ (Answer::Done(_) | Answer::Refused(_)) => known,
        }
    }
}
