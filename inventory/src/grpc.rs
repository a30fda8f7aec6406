//! The gRPC interface: decode, call the port, encode.

mod convert;
mod status;

use std::{sync::Arc, time::Duration};

use proto::inventory::v1::{
    AddStockRequest, AddStockResponse, ConfirmRequest, ConfirmResponse, GetStockRequest, GetStockResponse,
    ReleaseRequest, ReleaseResponse, ReserveRequest, ReserveResponse, inventory_service_server::InventoryService,
};
use runtime::telemetry::record_subject;
use tonic::{Request, Response, Status};

use crate::ports::StockStore;

/// Products in one answer, at most.
const MAX_LISTED: u32 = 1_000;

pub(crate) struct Grpc {
    stock: Arc<dyn StockStore>,
    /// How long unconfirmed stock stays reserved.
    ttl: Duration,
}

impl Grpc {
    pub(crate) const fn new(stock: Arc<dyn StockStore>, ttl: Duration) -> Self {
        Self { stock, ttl }
    }
}

#[tonic::async_trait]
impl InventoryService for Grpc {
    async fn get_stock(&self, request: Request<GetStockRequest>) -> Result<Response<GetStockResponse>, Status> {
        let products = convert::product_ids(&request.into_inner().product_ids)?;
        let named = if products.is_empty() {
            None
        } else {
            Some(products.as_slice())
        };
        let stock = self
            .stock
            .stock(named, MAX_LISTED)
            .await
            .map_err(status::store_failed)?;
        Ok(Response::new(GetStockResponse {
            stock: stock.into_iter().map(convert::stock).collect(),
        }))
    }

    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        let request = request.into_inner();
        let checkout = proto::convert::checkout_id(&request.checkout_id)?;
        record_subject("checkout", &checkout);
        let lines = convert::lines(&request.lines)?;
        let answer = self
            .stock
            .reserve(checkout, &lines, self.ttl)
            .await
            .map_err(status::store_failed)?;
        let expires_at = answer.map_err(status::refused)?;
        Ok(Response::new(ReserveResponse {
            expires_at: Some(proto::convert::timestamp(expires_at)),
        }))
    }

    async fn confirm(&self, request: Request<ConfirmRequest>) -> Result<Response<ConfirmResponse>, Status> {
        let checkout = proto::convert::checkout_id(&request.into_inner().checkout_id)?;
        record_subject("checkout", &checkout);
        let answer = self.stock.confirm(checkout).await.map_err(status::store_failed)?;
        answer.map_err(status::refused)?;
        Ok(Response::new(ConfirmResponse {}))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let checkout = proto::convert::checkout_id(&request.into_inner().checkout_id)?;
        record_subject("checkout", &checkout);
        let answer = self.stock.release(checkout).await.map_err(status::store_failed)?;
        answer.map_err(status::refused)?;
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn add_stock(&self, request: Request<AddStockRequest>) -> Result<Response<AddStockResponse>, Status> {
        let delivery = convert::delivery(&request.into_inner())?;
        let answer = self.stock.receive(&delivery).await.map_err(status::store_failed)?;
        let stock = answer.map_err(status::key_reused)?;
        Ok(Response::new(AddStockResponse {
            stock: Some(convert::stock(stock)),
        }))
    }
}
