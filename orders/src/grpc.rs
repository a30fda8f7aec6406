//! The gRPC interface: decode, do, encode.

mod convert;
mod status;

use proto::orders::v1::{
    GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse, orders_service_server::OrdersService,
};
use tonic::{Request, Response, Status};

use crate::app::Orders;

pub(crate) struct Grpc {
    orders: Orders,
}

impl Grpc {
    pub(crate) const fn new(orders: Orders) -> Self {
        Self { orders }
    }
}

#[tonic::async_trait]
impl OrdersService for Grpc {
    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let request = request.into_inner();
        let user = convert::user_id(&request.user_id)?;
        let id = convert::order_id(&request.order_id)?;
        let order = self.orders.get(&user, id).await.map_err(|e| status::store_failed(&e))?;
        let order = order.ok_or_else(|| status::not_found(id))?;
        Ok(Response::new(GetOrderResponse {
            order: Some(convert::order(&order)),
        }))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let request = request.into_inner();
        let user = convert::user_id(&request.user_id)?;
        let size = proto::convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token, &user)?;
        let page = self
            .orders
            .list(&user, after, size)
            .await
            .map_err(|e| status::store_failed(&e))?;
        Ok(Response::new(ListOrdersResponse {
            orders: page.items.iter().map(convert::order).collect(),
            next_page_token: convert::next_page_token(page.next, &user),
        }))
    }
}
