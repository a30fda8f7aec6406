//! The product service: current names and prices.

use std::collections::BTreeMap;

use async_trait::async_trait;
use proto::{
    convert,
    ids::MAX_PRODUCT_ID,
    product::v1::{BatchGetProductsRequest, product_service_client::ProductServiceClient},
};
use runtime::channel::Peer;

use super::unreadable;
use crate::{
    domain::{PricedProduct, ProductId},
    ports::{Catalogue, PeerError},
};

pub(crate) struct GrpcCatalogue(ProductServiceClient<Peer>);

impl GrpcCatalogue {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(ProductServiceClient::new(peer))
    }
}

#[async_trait]
impl Catalogue for GrpcCatalogue {
    async fn current_prices(&self, products: &[ProductId]) -> Result<BTreeMap<ProductId, PricedProduct>, PeerError> {
        // A cart of an earlier version may hold larger ids. No product has such an id any more.
        let ids = products.iter().map(|product| product.get());
        let request = BatchGetProductsRequest {
            ids: ids.filter(|id| *id <= MAX_PRODUCT_ID).collect(),
        };
        let found = self.0.clone().batch_get_products(request).await?.into_inner().products;
        let priced = found.into_iter().map(|product| {
            let price = convert::money("price", product.price).map_err(tonic::Status::from)?;
            Ok((
                ProductId::new(product.id).ok_or_else(|| unreadable("a product without an id"))?,
                PricedProduct {
                    name: product.name,
                    price,
                },
            ))
        });
        priced.collect()
    }
}
