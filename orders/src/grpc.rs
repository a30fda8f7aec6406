//! The gRPC interface: decode, call, encode.

mod convert;
mod status;

use std::sync::Arc;

use proto::orders::v1::{
    EraseUserRequest, EraseUserResponse, GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse,
    orders_service_server::OrdersService,
};
use runtime::telemetry::record_subject;
use tonic::{Request, Response, Status};

use crate::ports::OrderStore;

/// The most orders that one transaction of an erasure changes.
const ERASE_BATCH: u32 = 1000;

pub(crate) struct Grpc {
    store: Arc<dyn OrderStore>,
}

impl Grpc {
    pub(crate) const fn new(store: Arc<dyn OrderStore>) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl OrdersService for Grpc {
    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let request = request.into_inner();
        let user = proto::convert::user_id(&request.user_id)?;
        let id = proto::convert::order_id(&request.order_id)?;
        record_subject("order", &id.0);
        let order = self.store.find(&user, id).await.map_err(|e| status::store_failed(&e))?;
        let order = order.ok_or_else(|| status::not_found(id))?;
        Ok(Response::new(GetOrderResponse {
            order: Some(convert::order(&order)),
        }))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let request = request.into_inner();
        let user = proto::convert::user_id(&request.user_id)?;
        let size = proto::convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token, &user)?;
        let page = self
            .store
            .list(&user, after, size)
            .await
            .map_err(|e| status::store_failed(&e))?;
        Ok(Response::new(ListOrdersResponse {
            orders: page.items.iter().map(convert::order).collect(),
            next_page_token: convert::next_page_token(page.next, &user),
        }))
    }

    async fn erase_user(&self, request: Request<EraseUserRequest>) -> Result<Response<EraseUserResponse>, Status> {
        let request = request.into_inner();
        let user = proto::convert::user_id(&request.user_id)?;
        let checkouts = proto::convert::checkout_ids(&request.checkout_ids)?;
        let erased = storage::in_batches(ERASE_BATCH, |limit| self.store.erase(&user, &checkouts, limit)).await;
        let erased = erased.map_err(|e| status::store_failed(&e))?;
        Ok(Response::new(EraseUserResponse { orders: erased }))
    }
}
