//! Carts, from the cart service.

use async_trait::async_trait;
use money::Quantity;
use proto::{
    cart::v1::{CartItem, GetCartRequest, cart_service_client::CartServiceClient},
    convert,
};
use runtime::channel::Peer;
use tonic::Status;

use crate::{
    domain::{CartLine, CartView, ProductId, UserId},
    ports::{Carts, PeerError},
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
        Ok(CartView {
            lines,
            version: cart.version,
        })
    }
}

fn line(item: CartItem) -> Result<CartLine, Status> {
    Ok(CartLine {
        product: ProductId(item.product_id),
        quantity: Quantity::new(i64::from(item.quantity)).map_err(|e| Status::data_loss(e.to_string()))?,
        seen_price: convert::money("price", item.price)?,
    })
}
