//! Reads the cart and the prices of a purchase that is about to begin.

use ::saga::SagaId;
use futures::future::join;
use storage::StoreError;

use super::{Checkouts, initiate_checkout::InitiateError};
use crate::{
    domain::{CheckoutId, Purchase, Refusal, Request, freeze},
    ports::Unheld,
};

/// Checkouts that may hold pieces of one cart for another one to begin: as many as the cart takes.
const MAX_HOLDERS: usize = 50;

impl Checkouts {
    /// What the customer's cart holds at current prices, if that is what they agreed to.
    pub(super) async fn freeze_cart(&self, request: &Request) -> Result<Purchase, InitiateError> {
        let cart = self.carts.cart_of(&request.user).await.map_err(InitiateError::Peer)?;
        match cart.check(request) {
            Ok(()) if cart.holders.len() >= MAX_HOLDERS => return Err(InitiateError::TooManyHolds),
            Ok(()) => {}
            Err(Refusal::Empty) => {
                let holder = self.unfinished(&cart.holders).await?;
                return Err(holder.map_or(InitiateError::Refused(Refusal::Empty), InitiateError::InProgress));
            }
            Err(refusal) => return Err(InitiateError::Refused(refusal)),
        }
        let products: Vec<_> = cart.lines.iter().map(|line| line.product).collect();
        let (current, unheld) = join(
            self.catalogue.prices_of(&products),
            self.records.unheld(&request.user, cart.cart.version),
        )
        .await;
        let purchase = freeze(&cart, &current.map_err(InitiateError::Peer)?, request);
        let purchase = purchase.map_err(InitiateError::Refused)?;
        match unheld? {
            None => Ok(purchase),
            // What it bought is still among the lines: they are nobody's to buy.
            Some(Unheld { has_ended: true, .. }) => Err(InitiateError::Refused(Refusal::Empty)),
            Some(Unheld { by, has_ended: false }) => Err(InitiateError::InProgress(by)),
        }
    }

    /// The first of these checkouts that has not ended.
    async fn unfinished(&self, holders: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        for id in holders {
            let found = self.engine.get(SagaId(id.0), None).await?;
            if found.is_some_and(|(saga, _)| !saga.has_ended()) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }
}
