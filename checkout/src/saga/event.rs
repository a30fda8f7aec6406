//! The event that a final purchase publishes.

use ::saga::Saga;
use events::Event;
use jiff::Timestamp;
use money::Amount;
use proto::events::{CHECKOUTS, CheckoutCompleted, CheckoutFailed, PurchasedItem};
use runtime::{Ids, RequestContext};
use serde::Serialize;
use storage::StoreError;

use super::{CheckoutMachine, State};
use crate::domain::{CheckoutId, Failure, Line};

/// The event of a final saga, and its topic.
pub(super) fn of(
    saga: &Saga<CheckoutMachine>,
    now: Timestamp,
    ids: &Ids,
) -> Result<Option<(&'static str, Event)>, StoreError> {
    let (kind, name, data) = match &saga.state {
        State::Completed => (
            CheckoutCompleted::KIND,
            CheckoutCompleted::NAME,
            json(&completed(saga, now)?)?,
        ),
        State::Failed(failure) => (
            CheckoutFailed::KIND,
            CheckoutFailed::NAME,
            json(&failed(saga, failure, now))?,
        ),
        State::Initiated
        | State::InventoryReserved
        | State::CartHeld
        | State::PaymentPending
        | State::PaymentCompleted
        | State::Releasing(_)
        | State::GivingBack(_)
        | State::Refunding(_) => return Ok(None),
    };
    let event = Event {
        id: ids.next(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        source: "/checkout".to_owned(),
        time: now,
        key: saga.id.to_string(),
        context: RequestContext::current().unwrap_or_else(|| RequestContext::new(ids)),
        data: data.into(),
    };
    Ok(Some((CHECKOUTS.name, event)))
}

fn completed(saga: &Saga<CheckoutMachine>, now: Timestamp) -> Result<CheckoutCompleted, StoreError> {
    let purchase = &saga.data.purchase;
    let item = |line: &Line| {
        let subtotal = line.subtotal().map_err(StoreError::corrupt)?;
        Ok(PurchasedItem {
            product_id: line.product.get(),
            product_name: line.name.clone(),
            quantity: line.quantity.get(),
            unit_price: Amount(line.unit_price.minor_units()),
            subtotal: Amount(subtotal.minor_units()),
        })
    };
    let payment_id = saga.data.payment_id.clone();
    Ok(CheckoutCompleted {
        checkout_id: saga.id.0,
        order_id: CheckoutId(saga.id.0).order_id().0,
        user_id: saga.scope.clone(),
        items: purchase.lines.iter().map(item).collect::<Result<_, StoreError>>()?,
        total_amount: Amount(purchase.total.minor_units()),
        currency: purchase.total.currency(),
        payment_id: payment_id.ok_or_else(|| StoreError::corrupt("a checkout was charged and has no payment id"))?,
        cart_version: purchase.cart.version,
        held: saga.data.held,
        completed_at: now,
    })
}

fn failed(saga: &Saga<CheckoutMachine>, failure: &Failure, now: Timestamp) -> CheckoutFailed {
    CheckoutFailed {
        checkout_id: saga.id.0,
        user_id: saga.scope.clone(),
        reason: failure.reason.as_str().to_owned(),
        message: failure.message.clone(),
        failed_at: now,
    }
}

fn json(event: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(event).map_err(StoreError::corrupt)
}
