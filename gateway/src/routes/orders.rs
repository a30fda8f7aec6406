//! `/api/v1/orders`: the caller's own orders.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, header::LINK},
    response::IntoResponse,
    routing::get,
};
use money::Amount;
use proto::{
    Reason,
    orders::v1::{GetOrderRequest, ListOrdersRequest, Order, OrderItem},
};
use serde::Serialize;

use crate::{
    HandlerResult,
    caller::User,
    encode::{self, Time},
    path::Id,
    problem::Problem,
    query::Query,
    shared::Shared,
};

const PATH: &str = "/api/v1/orders";

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(PATH, get(list))
        .route("/api/v1/orders/{id}", get(show))
}

#[derive(Serialize)]
struct OrderJson {
    id: String,
    checkout_id: String,
    user_id: String,
    total_amount: Amount,
    currency: String,
    status: &'static str,
    items: Vec<ItemJson>,
    created_at: Time,
    updated_at: Time,
}

#[derive(Serialize)]
struct ItemJson {
    product_id: i64,
    product_name: String,
    quantity: i32,
    price: Amount,
    subtotal: Amount,
}

impl TryFrom<Order> for OrderJson {
    type Error = Problem;

    fn try_from(wire: Order) -> Result<Self, Problem> {
        let status = encode::status(wire.status().as_str_name(), "ORDER_STATUS_")?;
        let total = encode::price(wire.total_amount, "order.total_amount")?;
        Ok(Self {
            id: wire.id,
            checkout_id: wire.checkout_id,
            user_id: wire.user_id,
            total_amount: total.amount,
            currency: total.currency,
            status,
            items: wire
                .items
                .into_iter()
                .map(ItemJson::try_from)
                .collect::<Result<_, _>>()?,
            created_at: encode::time(wire.created_at.as_ref(), "order.created_at")?,
            updated_at: encode::time(wire.updated_at.as_ref(), "order.updated_at")?,
        })
    }
}

impl TryFrom<OrderItem> for ItemJson {
    type Error = Problem;

    fn try_from(wire: OrderItem) -> Result<Self, Problem> {
        Ok(Self {
            product_id: wire.product_id,
            product_name: wire.product_name,
            quantity: wire.quantity,
            price: encode::amount(wire.price, "order.item.price")?,
            subtotal: encode::amount(wire.subtotal, "order.item.subtotal")?,
        })
    }
}

async fn list(State(shared): State<Arc<Shared>>, user: User, mut query: Query) -> HandlerResult {
    let page = query.page()?;
    let request = ListOrdersRequest {
        user_id: user.into_id(),
        page_size: page.size.unwrap_or_default(),
        page_token: page.token.clone(),
    };
    let answer = shared.orders().list_orders(request).await?.into_inner();
    let orders = answer
        .orders
        .into_iter()
        .map(OrderJson::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    let mut response = Json(orders).into_response();
    let next = page
        .link_to_next(PATH, &answer.next_page_token)
        .and_then(|link| HeaderValue::try_from(link).ok());
    if let Some(next) = next {
        response.headers_mut().insert(LINK, next);
    }
    Ok(response)
}

async fn show(State(shared): State<Arc<Shared>>, user: User, id: Id) -> HandlerResult {
    let invalid = || {
        Problem::field(
            Reason::InvalidArgument,
            "order_id",
            format!("invalid order_id: {}", id.as_sent()),
        )
    };
    let request = GetOrderRequest {
        user_id: user.into_id(),
        order_id: id.uuid().ok_or_else(invalid)?,
    };
    let answer = shared.orders().get_order(request).await?.into_inner();
    let order = encode::required(answer.order, "order")?;
    Ok(Json(OrderJson::try_from(order)?).into_response())
}
