//! Consumes completed checkouts: removes what was bought.

use async_trait::async_trait;
use events::{Event, Handler, HandlerError};
use money::Quantity;
use proto::{
    convert,
    events::{CheckoutCompleted, PurchasedItem},
};

use crate::{
    app::{CartError, Carts, CompletedPurchase},
    domain::{CheckoutId, EventId, ProductId, ProductQuantity, UserId},
};

/// Applies completed purchases to carts.
#[derive(Debug, Clone)]
pub struct PurchaseHandler {
    carts: Carts,
}

impl PurchaseHandler {
    pub const fn new(carts: Carts) -> Self {
        Self { carts }
    }
}

#[async_trait]
impl Handler for PurchaseHandler {
    fn kinds(&self) -> &'static [&'static str] {
        &[CheckoutCompleted::KIND]
    }

    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        let (user, purchase) = decode(event).map_err(HandlerError::Poisoned)?;
        let completed = self.carts.complete_purchase(user, purchase).await;
        completed.map_err(handler_error)
    }
}

/// The error says why the event is invalid.
fn decode(event: &Event) -> Result<(UserId, CompletedPurchase), String> {
    let completed: CheckoutCompleted = serde_json::from_slice(&event.data)
        .map_err(|error| format!("it is not a {}: {error}", CheckoutCompleted::NAME))?;
    let user = convert::user_id(&completed.user_id).map_err(|_| "user_id is not an id of a user".to_owned())?;
    if completed.items.is_empty() {
        return Err("nothing was bought".to_owned());
    }
    let purchase = CompletedPurchase {
        checkout: CheckoutId(completed.checkout_id),
        event: EventId(event.id),
        held: completed.held,
        items: completed.items.iter().map(product_quantity).collect::<Result<_, _>>()?,
    };
    Ok((user, purchase))
}

fn product_quantity(item: &PurchasedItem) -> Result<ProductQuantity, String> {
    let product = ProductId::new(item.product_id).ok_or_else(|| format!("product_id {} is none", item.product_id))?;
    let quantity = Quantity::new(item.quantity).map_err(|error| format!("quantity {}: {error}", item.quantity))?;
    Ok(ProductQuantity { product, quantity })
}

fn handler_error(error: CartError) -> HandlerError {
    match error {
        CartError::Store(error) => error.into(),
        CartError::Contended => HandlerError::Transient("the change of the cart conflicted on every attempt".into()),
        CartError::CatalogueUnavailable(source) => HandlerError::Transient(source),
        // The rest cannot happen: a purchase is not checked against the rules or the catalogue.
        CartError::Refused(refused) => HandlerError::Poisoned(format!("{refused:?}")),
        CartError::HoldRefused => HandlerError::Poisoned("a hold was refused".to_owned()),
        CartError::ProductNotFound => HandlerError::Poisoned("a product is not in the catalogue".to_owned()),
    }
}
