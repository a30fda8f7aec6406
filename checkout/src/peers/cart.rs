//! Carts and holds on their pieces, at the cart service.

use async_trait::async_trait;
use money::Quantity;
use proto::{
    Reason,
    cart::v1::{
        CartItem, GetCartRequest, GiveBackRequest, HoldLine, HoldRequest, cart_service_client::CartServiceClient,
    },
    convert,
};
use runtime::channel::Peer;
use tonic::Status;
use uuid::Uuid;

use super::answer;
use crate::{
    domain::{CartLine, CartRef, CartView, CheckoutId, Line, ProductId, Purchase, UserId},
    ports::{Answer, Carts, PeerError},
};

pub(crate) struct GrpcCarts(CartServiceClient<Peer>);

impl GrpcCarts {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(CartServiceClient::new(peer))
    }
}

#[async_trait]
impl Carts for GrpcCarts {
    async fn cart_of(&self, user: &UserId) -> Result<CartView, PeerError> {
        let request = GetCartRequest {
            user_id: user.0.clone(),
            fresh: true,
        };
        let cart = self
            .0
            .clone()
            .get_cart(request)
            .await?
            .into_inner()
            .cart
            .unwrap_or_default();
        let lines = cart.items.into_iter().map(line).collect::<Result<_, _>>()?;
        let holders = cart
            .in_checkout
            .iter()
            .map(|hold| uuid(&hold.checkout_id).map(CheckoutId));
        Ok(CartView {
            cart: CartRef {
                id: (!cart.cart_id.is_empty()).then(|| uuid(&cart.cart_id)).transpose()?,
                version: cart.version,
            },
            lines,
            holders: holders.collect::<Result<_, _>>()?,
        })
    }

    async fn hold(&self, id: CheckoutId, user: &UserId, purchase: &Purchase) -> Answer<()> {
        let line = |line: &Line| HoldLine {
            product_id: line.product.0,
            quantity: line.quantity.get(),
        };
        let request = HoldRequest {
            user_id: user.0.clone(),
            checkout_id: id.to_string(),
            cart_id: purchase.cart.id.map(|id| id.to_string()).unwrap_or_default(),
            cart_version: purchase.cart.version,
            lines: purchase.lines.iter().map(line).collect(),
        };
        answer(self.0.clone().hold(request).await, &[Reason::CartChanged]).map(drop)
    }

    async fn give_back(&self, id: CheckoutId, user: &UserId) -> Answer<()> {
        let request = GiveBackRequest {
            user_id: user.0.clone(),
            checkout_id: id.to_string(),
        };
        answer(self.0.clone().give_back(request).await, &[]).map(drop)
    }
}

fn uuid(id: &str) -> Result<Uuid, Status> {
    id.parse()
        .map_err(|error| Status::data_loss(format!("the id {id:?} is none: {error}")))
}

fn line(item: CartItem) -> Result<CartLine, Status> {
    Ok(CartLine {
        product: ProductId(item.product_id),
        quantity: Quantity::new(i64::from(item.quantity)).map_err(|e| Status::data_loss(e.to_string()))?,
        seen_price: convert::money("price", item.price)?,
    })
}
