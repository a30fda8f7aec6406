//! Freezes the lines of a cart and their current prices for a new purchase.

use ::saga::SagaId;
use futures::future::join;
use storage::StoreError;

use super::{Checkouts, initiate_checkout::InitiateError};
use crate::{
    domain::{CartRefusal, CheckoutId, CheckoutRequest, Purchase},
    ports::CheckoutWithoutHold,
};

/// The cart takes this many holds (`cart/src/domain/holds.rs`). At the limit no further checkout of this cart begins.
const MAX_HOLDERS: usize = 50;

impl Checkouts {
    /// The customer's cart at current prices, if the customer agreed to these.
    pub(super) async fn freeze_cart(&self, request: &CheckoutRequest) -> Result<Purchase, InitiateError> {
        let cart = self.carts.get_cart(&request.user).await.map_err(InitiateError::Peer)?;
        match cart.check(request) {
            Ok(()) if cart.holders.len() >= MAX_HOLDERS => return Err(InitiateError::TooManyHolds),
            Ok(()) => {}
            Err(CartRefusal::Empty) => {
                let unfinished = self.first_unfinished(&cart.holders).await?;
                return Err(unfinished.map_or(InitiateError::Refused(CartRefusal::Empty), InitiateError::InProgress));
            }
            Err(refusal) => return Err(InitiateError::Refused(refusal)),
        }
        let products: Vec<_> = cart.lines.iter().map(|line| line.product).collect();
        // Not part of the begin: only versions before holds begin such sagas, and none of those may run beside this one.
        let (prices, without_hold) = join(
            self.catalogue.current_prices(&products),
            self.records.without_hold(&request.user, cart.cart.version),
        )
        .await;
        let purchase = cart.freeze(&prices.map_err(InitiateError::Peer)?, request);
        let purchase = purchase.map_err(InitiateError::Refused)?;
        match without_hold? {
            None => Ok(purchase),
            // Its pieces are still among the free lines, but they are bought.
            Some(CheckoutWithoutHold { is_final: true, .. }) => Err(InitiateError::Refused(CartRefusal::Empty)),
            Some(CheckoutWithoutHold { id, is_final: false }) => Err(InitiateError::InProgress(id)),
        }
    }

    /// The first of these checkouts that is not final.
    async fn first_unfinished(&self, holders: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        for id in holders {
            let found = self.engine.get(SagaId(id.0), None).await?;
            if found.is_some_and(|(saga, _)| !saga.is_final()) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }
}
