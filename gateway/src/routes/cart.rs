//! `/api/v1/cart`: the caller's own cart.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::ETAG},
    response::IntoResponse,
    routing::{delete, get, post},
};
use money::Amount;
use proto::cart::v1::{
    AddItemRequest, Cart, CartItem, ClearCartRequest, GetCartRequest, Hold, RemoveItemRequest, UpdateQuantityRequest,
};
use serde::Serialize;

use crate::{
    HandlerResult,
    body::Fields,
    caller::User,
    encode::{self, Time},
    etag::{self, ExpectedVersion},
    key::HeaderKey,
    path::ProductPath,
    problem::Problem,
    shared::Shared,
};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/cart", get(show).delete(clear))
        .route("/api/v1/cart/items", post(add_item))
        .route("/api/v1/cart/items/{product_id}", delete(remove_item).put(set_quantity))
}

#[derive(Serialize)]
struct CartJson {
    cart_id: String,
    user_id: String,
    items: Vec<ItemJson>,
    total_items: usize,
    total_price: Amount,
    currency: String,
    in_checkout: Vec<HoldJson>,
    updated_at: Option<Time>,
}

/// A line that no checkout holds.
#[derive(Serialize)]
struct ItemJson {
    #[serde(flatten)]
    pieces: PiecesJson,
    added_at: Time,
}

/// The pieces that a checkout holds.
#[derive(Serialize)]
struct HoldJson {
    checkout_id: String,
    items: Vec<PiecesJson>,
}

#[derive(Serialize)]
struct PiecesJson {
    product_id: i64,
    product_name: String,
    price: Amount,
    quantity: i32,
    subtotal: Amount,
}

impl TryFrom<Cart> for CartJson {
    type Error = Problem;

    fn try_from(wire: Cart) -> Result<Self, Problem> {
        let total = encode::price(wire.total_price, "cart.total_price")?;
        Ok(Self {
            cart_id: wire.cart_id,
            user_id: wire.user_id,
            total_items: wire.items.len(),
            items: wire
                .items
                .into_iter()
                .map(ItemJson::try_from)
                .collect::<Result<_, _>>()?,
            total_price: total.amount,
            currency: total.currency,
            in_checkout: wire
                .in_checkout
                .into_iter()
                .map(HoldJson::try_from)
                .collect::<Result<_, _>>()?,
            updated_at: encode::optional_time(wire.updated_at.as_ref(), "cart.updated_at")?,
        })
    }
}

impl TryFrom<CartItem> for ItemJson {
    type Error = Problem;

    fn try_from(wire: CartItem) -> Result<Self, Problem> {
        Ok(Self {
            added_at: encode::time(wire.added_at.as_ref(), "cart.item.added_at")?,
            pieces: wire.try_into()?,
        })
    }
}

impl TryFrom<Hold> for HoldJson {
    type Error = Problem;

    fn try_from(wire: Hold) -> Result<Self, Problem> {
        let items = wire.items.into_iter().map(PiecesJson::try_from);
        Ok(Self {
            checkout_id: wire.checkout_id,
            items: items.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<CartItem> for PiecesJson {
    type Error = Problem;

    fn try_from(wire: CartItem) -> Result<Self, Problem> {
        Ok(Self {
            product_id: wire.product_id,
            product_name: wire.product_name,
            price: encode::amount(wire.price, "cart.item.price")?,
            quantity: wire.quantity,
            subtotal: encode::amount(wire.subtotal, "cart.item.subtotal")?,
        })
    }
}

async fn show(State(shared): State<Arc<Shared>>, user: User) -> HandlerResult {
    let request = GetCartRequest {
        user_id: user.into_id(),
        fresh: false,
    };
    let answer = shared.cart().get_cart(request).await?.into_inner();
    cart_response(StatusCode::OK, answer.cart)
}

async fn add_item(
    State(shared): State<Arc<Shared>>,
    user: User,
    ExpectedVersion(expected_version): ExpectedVersion,
    HeaderKey(key): HeaderKey,
    mut body: Fields,
) -> HandlerResult {
    let (product_id, quantity) = (body.product_id(), body.quantity());
    let request = body.finish(AddItemRequest {
        user_id: user.into_id(),
        product_id,
        quantity,
        expected_version,
        idempotency_key: key.unwrap_or_default(),
    })?;
    let answer = shared.cart().add_item(request).await?.into_inner();
    cart_response(
        if answer.created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
        answer.cart,
    )
}

async fn set_quantity(
    State(shared): State<Arc<Shared>>,
    user: User,
    ProductPath(product): ProductPath,
    ExpectedVersion(expected_version): ExpectedVersion,
    mut body: Fields,
) -> HandlerResult {
    let quantity = body.quantity();
    let request = body.finish(UpdateQuantityRequest {
        user_id: user.into_id(),
        product_id: product.get(),
        quantity,
        expected_version,
    })?;
    let answer = shared.cart().update_quantity(request).await?.into_inner();
    cart_response(StatusCode::OK, answer.cart)
}

async fn remove_item(
    State(shared): State<Arc<Shared>>,
    user: User,
    ProductPath(product): ProductPath,
    ExpectedVersion(expected_version): ExpectedVersion,
) -> HandlerResult {
    let request = RemoveItemRequest {
        user_id: user.into_id(),
        product_id: product.get(),
        expected_version,
    };
    let answer = shared.cart().remove_item(request).await?.into_inner();
    cart_response(StatusCode::OK, answer.cart)
}

async fn clear(
    State(shared): State<Arc<Shared>>,
    user: User,
    ExpectedVersion(expected_version): ExpectedVersion,
) -> HandlerResult {
    let request = ClearCartRequest {
        user_id: user.into_id(),
        expected_version,
    };
    let answer = shared.cart().clear_cart(request).await?.into_inner();
    cart_response(StatusCode::OK, answer.cart)
}

/// The cart, with its version as `ETag`.
fn cart_response(status: StatusCode, cart: Option<Cart>) -> HandlerResult {
    let cart = encode::required(cart, "cart")?;
    let tag = etag::tag(cart.version);
    Ok((status, [(ETAG, tag)], Json(CartJson::try_from(cart)?)).into_response())
}
