//! The catalogue, over gRPC.

use async_trait::async_trait;
use proto::{
    Reason,
    product::v1::{GetProductRequest, Product, product_service_client::ProductServiceClient},
    status::refused,
};
use runtime::channel::Peer;

use crate::{
    domain::{Offer, ProductId},
    ports::{ProductLookup, Products},
};

#[derive(Debug, Clone)]
pub(crate) struct GrpcProducts {
    client: ProductServiceClient<Peer>,
}

impl GrpcProducts {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            client: ProductServiceClient::new(peer),
        }
    }
}

#[async_trait]
impl Products for GrpcProducts {
    async fn find(&self, product: ProductId) -> ProductLookup {
        match self
            .client
            .clone()
            .get_product(GetProductRequest { id: product.get() })
            .await
        {
            Ok(answer) => answer
                .into_inner()
                .product
                .and_then(|wire| offer(product, wire))
                .map_or_else(
                    || ProductLookup::Unknown("the product service sent no usable product".into()),
                    ProductLookup::Found,
                ),
            Err(status) if refused(&status) == Some(Reason::ProductNotFound) => ProductLookup::NotFound,
            Err(status) => ProductLookup::Unknown(status.into()),
        }
    }
}

/// `None` if the answer is another product or has no price.
fn offer(product: ProductId, wire: Product) -> Option<Offer> {
    let price = proto::convert::money("price", wire.price).ok()?;
    (wire.id == product.get() && price.is_positive()).then_some(Offer {
        product,
        name: wire.name,
        price,
    })
}
