//! The event handler: each `CheckoutCompleted` becomes an order.

use std::sync::Arc;

use async_trait::async_trait;
use events::{Event, Handler, HandlerError};
use money::{Money, Quantity};
use proto::{
    convert,
    events::{CheckoutCompleted, PurchasedItem},
};
use runtime::Clock;

use crate::{
    domain::{CheckoutId, Line, Order, OrderId, OrderIds, ProductId},
    ports::{OrderStore, Recorded},
};

/// Records the order of each completed checkout.
pub struct OrderRecorder {
    store: Arc<dyn OrderStore>,
    clock: Clock,
}

impl OrderRecorder {
    pub const fn new(store: Arc<dyn OrderStore>, clock: Clock) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl Handler for OrderRecorder {
    fn kinds(&self) -> &'static [&'static str] {
        &[CheckoutCompleted::KIND]
    }

    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        let order = order(&event.data)?;
        match self.store.record(&order, event.id, self.clock.now()).await? {
            Recorded::Created => {
                tracing::info!(order = %order.id().0, checkout = %order.checkout_id().0, "recorded an order");
                Ok(())
            }
            Recorded::Duplicate => Ok(()),
            Recorded::IdTaken => Err(poisoned(format!(
                "order {} is the order of another checkout already",
                order.id().0
            ))),
        }
    }
}

const fn poisoned(reason: String) -> HandlerError {
    HandlerError::Poisoned(reason)
}

/// The order in the event's data; poisoned if it is invalid.
fn order(data: &[u8]) -> Result<Order, HandlerError> {
    let purchase: CheckoutCompleted = serde_json::from_slice(data)
        .map_err(|e| poisoned(format!("the data are not a {}: {e}", CheckoutCompleted::NAME)))?;
    let user_id = convert::user_id(&purchase.user_id);
    let ids = OrderIds {
        id: OrderId(purchase.order_id),
        checkout_id: CheckoutId(purchase.checkout_id),
        user_id: user_id.map_err(|_| poisoned("user_id is not that of a user".to_owned()))?,
    };
    let amount = |minor_units| Money::new(minor_units, purchase.currency);
    let lines = (1..).zip(&purchase.items).map(|(position, item)| {
        let PurchasedItem {
            product_id,
            product_name,
            quantity,
            unit_price,
            subtotal,
        } = item;
        let wrong = |why: String| poisoned(format!("line {position} (product {product_id}) does not agree: {why}"));
        let quantity = Quantity::new(*quantity).map_err(|e| wrong(e.to_string()))?;
        let (price, subtotal) = (amount(unit_price.0), amount(subtotal.0));
        let product = ProductId::new(*product_id).ok_or_else(|| wrong("there is no such product".to_owned()))?;
        Line::new(product, product_name.clone(), quantity, price, subtotal).map_err(|e| wrong(e.to_string()))
    });
    let lines = lines.collect::<Result<Vec<_>, HandlerError>>()?;
    Order::new(ids, lines, amount(purchase.total_amount.0), purchase.completed_at)
        .map_err(|e| poisoned(format!("the purchase does not agree: {e}")))
}
