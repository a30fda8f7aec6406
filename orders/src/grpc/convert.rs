//! Conversions between messages and domain values.

use proto::{
    orders::v1::{self as wire, OrderStatus},
    status::Refusal,
};
use storage::Cursor;

use crate::domain::{Line, Order, UserId};

/// Binds page tokens to the list of one user.
fn list_name(user: &UserId) -> String {
    format!("orders of {}", user.as_str())
}

pub(super) fn page_token(wire: &str, user: &UserId) -> Result<Option<Cursor>, Refusal> {
    proto::convert::page_token(wire, |token| Cursor::from_token(token, &list_name(user)))
}

pub(super) fn next_page_token(next: Option<Cursor>, user: &UserId) -> String {
    next.map(|next| next.to_token(&list_name(user))).unwrap_or_default()
}

pub(super) fn order(order: &Order) -> wire::Order {
    wire::Order {
        id: order.id().0.to_string(),
        checkout_id: order.checkout_id().0.to_string(),
        user_id: order.user_id().as_str().to_owned(),
        total_amount: Some(order.total().into()),
        status: OrderStatus::Confirmed.into(),
        items: order.lines().iter().map(line).collect(),
        created_at: Some(proto::convert::timestamp(order.created_at())),
        updated_at: Some(proto::convert::timestamp(order.updated_at())),
    }
}

fn line(line: &Line) -> wire::OrderItem {
    wire::OrderItem {
        product_id: line.product_id().get(),
        product_name: line.product_name().to_owned(),
        quantity: line.quantity().into(),
        price: Some(line.price().into()),
        subtotal: Some(line.subtotal().into()),
    }
}
