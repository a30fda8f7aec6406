//! What the service does with events: drops what was bought.

use async_trait::async_trait;
use events::{Event, Handler, HandlerError};
use money::Quantity;
use proto::{
    convert,
    events::{CheckoutCompleted, PurchasedItem},
};

use crate::{
    app::{CartError, Carts, Completed},
    domain::{Bought, CheckoutId, EventId, ProductId, UserId},
};

/// Applies purchases to carts.
#[derive(Debug, Clone)]
pub struct Purchases {
    carts: Carts,
}

impl Purchases {
    pub const fn new(carts: Carts) -> Self {
        Self { carts }
    }
}

#[async_trait]
impl Handler for Purchases {
    fn kinds(&self) -> &'static [&'static str] {
        &[CheckoutCompleted::KIND]
    }

    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        let (user, purchase) = read(event).map_err(HandlerError::Poisoned)?;
        self.carts.complete(user, purchase).await.map_err(unapplied)
    }
}

/// Who bought what; the reason if that makes no sense.
fn read(event: &Event) -> Result<(UserId, Completed), String> {
    let completed: CheckoutCompleted = serde_json::from_slice(&event.data)
        .map_err(|error| format!("it is not a {}: {error}", CheckoutCompleted::NAME))?;
    let user = convert::user_id(&completed.user_id).map_err(|_| "user_id is not an id of a user".to_owned())?;
    if completed.items.is_empty() {
        return Err("nothing was bought".to_owned());
    }
    let purchase = Completed {
        checkout: CheckoutId(completed.checkout_id),
        event: EventId(event.id),
        held: completed.held,
        bought: completed.items.iter().map(bought).collect::<Result<_, _>>()?,
    };
    Ok((user, purchase))
}

fn bought(item: &PurchasedItem) -> Result<Bought, String> {
    let product = ProductId::new(item.product_id).ok_or_else(|| format!("product_id {} is none", item.product_id))?;
    let quantity = Quantity::new(item.quantity).map_err(|error| format!("quantity {}: {error}", item.quantity))?;
    Ok(Bought { product, quantity })
}

fn unapplied(error: CartError) -> HandlerError {
    match error {
        CartError::Store(error) => error.into(),
        CartError::Contended => HandlerError::Transient("the cart is being changed by others all the time".into()),
        CartError::ProductUnknown(source) => HandlerError::Transient(source),
        // A purchase asks no rule and no catalogue.
        CartError::Refused(refused) => HandlerError::Poisoned(format!("{refused:?}")),
        CartError::HoldRefused => HandlerError::Poisoned("a hold was refused".to_owned()),
        CartError::ProductNotFound => HandlerError::Poisoned("a product is not in the catalogue".to_owned()),
    }
}
