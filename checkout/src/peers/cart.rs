//! The cart service: carts, and the holds of checkouts.

use async_trait::async_trait;
use money::Quantity;
use proto::{
    Reason,
    cart::v1::{
        Cart, CartItem, GetCartRequest, GiveBackRequest, HoldLine, HoldRequest, cart_service_client::CartServiceClient,
    },
    convert,
};
use runtime::channel::Peer;
use tonic::Status;
use uuid::Uuid;

use super::{outcome, unreadable};
use crate::{
    domain::{CartLine, CartRef, CartView, CheckoutId, Line, ProductId, Purchase, UserId},
    ports::{Carts, PeerError, PeerOutcome},
};

pub(crate) struct GrpcCarts(CartServiceClient<Peer>);

impl GrpcCarts {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(CartServiceClient::new(peer))
    }
}

#[async_trait]
impl Carts for GrpcCarts {
    async fn get_cart(&self, user: &UserId) -> Result<CartView, PeerError> {
        let request = GetCartRequest {
            user_id: user.as_str().to_owned(),
            fresh: true,
        };
        read_cart(self.0.clone().get_cart(request).await?.into_inner().cart)
    }

    async fn hold(&self, id: CheckoutId, user: &UserId, purchase: &Purchase) -> PeerOutcome<()> {
        let line = |line: &Line| HoldLine {
            product_id: line.product.get(),
            quantity: line.quantity.get(),
        };
        let request = HoldRequest {
            user_id: user.as_str().to_owned(),
            checkout_id: id.to_string(),
            cart_id: purchase.cart.id.map(|id| id.to_string()).unwrap_or_default(),
            cart_version: purchase.cart.version,
            lines: purchase.lines.iter().map(line).collect(),
        };
        outcome(self.0.clone().hold(request).await, &[Reason::CartChanged]).map(drop)
    }

    async fn give_back(&self, id: CheckoutId, user: &UserId) -> PeerOutcome<()> {
        let request = GiveBackRequest {
            user_id: user.as_str().to_owned(),
            checkout_id: id.to_string(),
        };
        outcome(self.0.clone().give_back(request).await, &[]).map(drop)
    }
}

/// The cart service also returns a cart that was never filled, so an answer without a cart is unreadable.
fn read_cart(cart: Option<Cart>) -> Result<CartView, PeerError> {
    let cart = cart.ok_or_else(|| unreadable("it has no cart"))?;
    let lines = cart.items.into_iter().map(read_line).collect::<Result<_, _>>()?;
    let holders = cart
        .in_checkout
        .iter()
        .map(|hold| read_uuid(&hold.checkout_id).map(CheckoutId));
    Ok(CartView {
        cart: CartRef {
            id: (!cart.cart_id.is_empty())
                .then(|| read_uuid(&cart.cart_id))
                .transpose()?,
            version: cart.version,
        },
        lines,
        holders: holders.collect::<Result<_, _>>()?,
    })
}

fn read_uuid(id: &str) -> Result<Uuid, PeerError> {
    id.parse()
        .map_err(|error| unreadable(format!("{id:?} is not a UUID: {error}")))
}

fn read_line(item: CartItem) -> Result<CartLine, PeerError> {
    Ok(CartLine {
        product: ProductId::new(item.product_id).ok_or_else(|| unreadable("a line without a product"))?,
        quantity: Quantity::new(i64::from(item.quantity)).map_err(unreadable)?,
        seen_price: convert::money("price", item.price).map_err(Status::from)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_cart_is_not_an_empty_cart() {
        read_cart(None).unwrap_err();
        let empty = read_cart(Some(Cart::default())).unwrap();
        assert_eq!((empty.lines, empty.cart.id), (Vec::new(), None));
    }

    #[test]
    fn a_line_without_a_quantity_or_a_price_is_unreadable() {
        let price = Some(money::Money::usd(100).into());
        let whole = CartItem {
            product_id: 1,
            quantity: 1,
            price,
            ..CartItem::default()
        };
        let of = |item: CartItem| {
            read_cart(Some(Cart {
                items: vec![item],
                ..Cart::default()
            }))
        };
        of(whole.clone()).unwrap();
        let (no_price, no_quantity) = (None, 0);
        of(CartItem {
            price: no_price,
            ..whole.clone()
        })
        .unwrap_err();
        of(CartItem {
            quantity: no_quantity,
            ..whole
        })
        .unwrap_err();
    }
}
