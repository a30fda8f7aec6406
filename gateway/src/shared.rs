//! The state that all handlers share.

use std::time::Duration;

use proto::{
    cart::v1::cart_service_client::CartServiceClient, checkout::v1::checkout_service_client::CheckoutServiceClient,
    orders::v1::orders_service_client::OrdersServiceClient, product::v1::product_service_client::ProductServiceClient,
};
use runtime::{Clock, channel::Peer};

use crate::{
    Config, Peers,
    token::{ExpectedClaims, Keys},
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) keys: Keys,
    pub(crate) expected_claims: ExpectedClaims,
    pub(crate) checkout_timeout: Duration,
    pub(crate) clock: Clock,
    peers: Peers,
}

impl Shared {
    pub(crate) fn new(config: Config, peers: Peers, clock: Clock) -> Self {
        Self {
            keys: config.keys,
            expected_claims: config.expected_claims,
            checkout_timeout: config.checkout_timeout,
            clock,
            peers,
        }
    }

    pub(crate) fn product(&self) -> ProductServiceClient<Peer> {
        ProductServiceClient::new(self.peers.product.clone())
    }

    pub(crate) fn cart(&self) -> CartServiceClient<Peer> {
        CartServiceClient::new(self.peers.cart.clone())
    }

    pub(crate) fn checkout(&self) -> CheckoutServiceClient<Peer> {
        CheckoutServiceClient::new(self.peers.checkout.clone())
    }

    pub(crate) fn orders(&self) -> OrdersServiceClient<Peer> {
        OrdersServiceClient::new(self.peers.orders.clone())
    }
}
