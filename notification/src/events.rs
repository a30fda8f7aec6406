//! The event handler: each completed or failed checkout becomes a notification.

use std::sync::Arc;

use async_trait::async_trait;
use events::{Event, Handler, HandlerError};
use money::{Money, Quantity};
use proto::events::{CheckoutCompleted, CheckoutFailed};
use runtime::Clock;
use serde::Deserialize;

use crate::{
    domain::{self, CheckoutId, Notification, NotificationId, NotificationKind, OrderId, UserId},
    ports::{NotificationStore, Recorded},
};

/// Records the notification of each checkout that ended.
pub struct Notifier {
    store: Arc<dyn NotificationStore>,
    clock: Clock,
}

impl Notifier {
    pub const fn new(store: Arc<dyn NotificationStore>, clock: Clock) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl Handler for Notifier {
    fn kinds(&self) -> &'static [&'static str] {
        &[CheckoutCompleted::KIND, CheckoutFailed::KIND]
    }

    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        let notification = match event.kind.as_str() {
            CheckoutCompleted::KIND => confirmed(event)?,
            CheckoutFailed::KIND => failed(event)?,
            other => return Err(poisoned(format!("it is of kind {other}"))),
        };
        match self.store.record(&notification, self.clock.now()).await? {
            Recorded::Created => {
                let Notification {
                    id,
                    checkout_id,
                    kind,
                    user_id: _,
                    text: _,
                    created_at: _,
                } = notification;
                // No personal data in logs.
                tracing::info!(event = %id.0, checkout = %checkout_id.0, kind = kind.as_str(), "notified a customer");
            }
            Recorded::Skipped => {}
        }
        Ok(())
    }
}

fn poisoned(reason: impl Into<String>) -> HandlerError {
    HandlerError::Poisoned(reason.into())
}

fn data<'a, T: Deserialize<'a>>(event: &'a Event, name: &str) -> Result<T, HandlerError> {
    serde_json::from_slice(&event.data).map_err(|e| poisoned(format!("the data are not a {name}: {e}")))
}

fn user(id: &str) -> Result<UserId, HandlerError> {
    proto::convert::user_id(id).map_err(|_| poisoned("user_id is not that of a user"))
}

fn confirmed(event: &Event) -> Result<Notification, HandlerError> {
    let purchase: CheckoutCompleted = data(event, CheckoutCompleted::NAME)?;
    let pieces = purchase.items.iter().try_fold(0_i64, |sum, item| {
        let pieces = Quantity::new(item.quantity)
            .map_err(|e| poisoned(format!("the quantity of product {}: {e}", item.product_id)))?;
        sum.checked_add(pieces.get())
            .ok_or_else(|| poisoned("the quantities have no sum"))
    })?;
    if pieces == 0 {
        return Err(poisoned("the purchase has no items"));
    }
    let total = Money::new(purchase.total_amount.0, purchase.currency);
    Ok(Notification {
        id: NotificationId(event.id),
        user_id: user(&purchase.user_id)?,
        kind: NotificationKind::OrderConfirmed,
        checkout_id: CheckoutId(purchase.checkout_id),
        text: domain::order_confirmed(OrderId(purchase.order_id), pieces, total),
        created_at: purchase.completed_at,
    })
}

fn failed(event: &Event) -> Result<Notification, HandlerError> {
    let failure: CheckoutFailed = data(event, CheckoutFailed::NAME)?;
    let checkout_id = CheckoutId(failure.checkout_id);
    Ok(Notification {
        id: NotificationId(event.id),
        user_id: user(&failure.user_id)?,
        kind: NotificationKind::CheckoutFailed,
        checkout_id,
        text: domain::checkout_failed(checkout_id, &failure.message),
        created_at: failure.failed_at,
    })
}
