//! The inventory service: reservations of stock.

use async_trait::async_trait;
use proto::{
    Reason,
    inventory::v1::{
        self as wire, ConfirmRequest, ReleaseRequest, ReserveRequest, inventory_service_client::InventoryServiceClient,
    },
};
use runtime::channel::Peer;

use super::outcome;
use crate::{
    domain::{CheckoutId, Line},
    ports::{PeerOutcome, Stock},
};

pub(crate) struct GrpcStock(InventoryServiceClient<Peer>);

impl GrpcStock {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(InventoryServiceClient::new(peer))
    }
}

#[async_trait]
impl Stock for GrpcStock {
    async fn reserve(&self, id: CheckoutId, lines: &[Line]) -> PeerOutcome<()> {
        let lines = lines
            .iter()
            .map(|line| wire::Line {
                product_id: line.product.get(),
                quantity: line.quantity.get(),
            })
            .collect();
        let request = ReserveRequest {
            checkout_id: id.to_string(),
            lines,
        };
        let refusals = [Reason::OutOfStock, Reason::ReservationReleased];
        outcome(self.0.clone().reserve(request).await, &refusals).map(drop)
    }

    async fn confirm(&self, id: CheckoutId) -> PeerOutcome<()> {
        let request = ConfirmRequest {
            checkout_id: id.to_string(),
        };
        outcome(self.0.clone().confirm(request).await, &[Reason::ReservationExpired]).map(drop)
    }

    async fn release(&self, id: CheckoutId) -> PeerOutcome<()> {
        let request = ReleaseRequest {
            checkout_id: id.to_string(),
        };
        outcome(self.0.clone().release(request).await, &[]).map(drop)
    }
}
