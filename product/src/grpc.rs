//! The gRPC interface: decode, call the port, encode.

mod convert;
mod status;

use std::sync::Arc;

use proto::product::v1::{
    BatchGetProductsRequest, BatchGetProductsResponse, GetProductRequest, GetProductResponse, GetProductsRequest,
    GetProductsResponse, UpsertProductRequest, UpsertProductResponse, product_service_server::ProductService,
};
use runtime::Clock;
use tonic::{Request, Response, Status};

use crate::{
    app,
    domain::{Details, Query},
    ports::Catalogue,
};

pub(crate) struct Grpc {
    catalogue: Arc<dyn Catalogue>,
    clock: Clock,
}

impl Grpc {
    pub(crate) const fn new(catalogue: Arc<dyn Catalogue>, clock: Clock) -> Self {
        Self { catalogue, clock }
    }
}

#[tonic::async_trait]
impl ProductService for Grpc {
    async fn get_products(
        &self,
        request: Request<GetProductsRequest>,
    ) -> Result<Response<GetProductsResponse>, Status> {
        let request = request.into_inner();
        let size = proto::convert::page_size(request.page_size)?;
        let query = Query::new(&request.query).map_err(status::invalid_query)?;
        let after = convert::page_token(&request.page_token, &query)?;
        let page = app::list_products(self.catalogue.as_ref(), &query, after, size)
            .await
            .map_err(status::page_failed)?;
        Ok(Response::new(GetProductsResponse {
            products: page.products.iter().map(convert::product).collect(),
            next_page_token: page
                .next
                .map(|last| convert::to_page_token(last, &query))
                .unwrap_or_default(),
        }))
    }

    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let id = proto::convert::product_id("id", request.into_inner().id)?;
        let mut found = self.catalogue.find(&[id]).await.map_err(status::store_failed)?;
        let product = found.pop().ok_or_else(status::product_not_found)?;
        Ok(Response::new(GetProductResponse {
            product: Some(convert::product(&product)),
        }))
    }

    async fn batch_get_products(
        &self,
        request: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        let ids = convert::product_ids(&request.into_inner().ids)?;
        let products = self.catalogue.find(&ids).await.map_err(status::store_failed)?;
        Ok(Response::new(BatchGetProductsResponse {
            products: products.iter().map(convert::product).collect(),
        }))
    }

    async fn upsert_product(
        &self,
        request: Request<UpsertProductRequest>,
    ) -> Result<Response<UpsertProductResponse>, Status> {
        let request = request.into_inner();
        let id = if request.id == 0 {
            None
        } else {
            Some(proto::convert::product_id("id", request.id)?)
        };
        let price = proto::convert::money("price", request.price)?;
        let details = Details::new(request.name, request.description, price, request.image_url)
            .map_err(status::invalid_details)?;
        let product = self.catalogue.put(id, &details, self.clock.now()).await;
        let product = product.map_err(status::store_failed)?;
        Ok(Response::new(UpsertProductResponse {
            product: Some(convert::product(&product)),
        }))
    }
}
