//! The wire's values as ours, and back.

use money::{MoneyError, Quantity};
use proto::{
    cart::v1::HoldRequest,
    convert::{checkout_id, idempotency_key, timestamp, uuid},
    status::Refusal,
};
use tonic::{Status, metadata::MetadataMap};

use super::status::{refuse, refused};
use crate::{
    app::{CartError, Terms},
    domain::{
        Bought, CallId, Cart, CartId, Hold, IdempotencyKey, Line, ProductId, Refused, Version, Wanted, line_quantity,
    },
};

pub(super) fn quantity(wire: i32) -> Result<Quantity, Refusal> {
    line_quantity(i64::from(wire)).map_err(refused)
}

/// What the caller says with a change: the version that it expects, if it does, and the names of the call.
pub(super) fn terms(expected_version: Option<i64>, metadata: &MetadataMap) -> Result<Terms, Refusal> {
    let expected = expected_version.map(|wire| version("expected_version", wire));
    Ok(Terms {
        expected: expected.transpose()?,
        call: runtime::channel::call_id(metadata).map(CallId),
        key: None,
    })
}

/// The customer's name for an addition; empty for none.
pub(super) fn key(wire: &str) -> Result<Option<IdempotencyKey>, Refusal> {
    (!wire.is_empty()).then(|| idempotency_key(wire)).transpose()
}

/// What a checkout wants to hold.
pub(super) fn wanted(request: &HoldRequest) -> Result<Wanted, Refusal> {
    let cart = match request.cart_id.as_str() {
        "" => None,
        id => Some(CartId(uuid("cart_id", id)?)),
    };
    if request.lines.is_empty() {
        return Err(Refusal::field("lines", "there must be at least one line"));
    }
    let pieces = request.lines.iter().map(|line| {
        let quantity = Quantity::new(line.quantity);
        // An id that was in a cart before ids had a largest one is that of a line that can still be bought.
        let product = ProductId::new(line.product_id);
        Ok(Bought {
            product: product.ok_or_else(|| Refusal::field("lines.product_id", "product_id must be 1 or more"))?,
            quantity: quantity.map_err(|error| Refusal::field("lines.quantity", error.to_string()))?,
        })
    });
    Ok(Wanted {
        checkout: checkout_id(&request.checkout_id)?,
        cart,
        frozen_at: version("cart_version", request.cart_version)?,
        pieces: pieces.collect::<Result<_, Refusal>>()?,
    })
}

fn version(field: &'static str, wire: i64) -> Result<Version, Refusal> {
    let version = (wire >= 0).then_some(Version(wire));
    version.ok_or_else(|| Refusal::field(field, format!("{field} must not be negative")))
}

pub(super) fn cart(cart: &Cart) -> Result<proto::cart::v1::Cart, Status> {
    encode(cart).map_err(|error| refuse(CartError::Refused(Refused::Total(error))))
}

fn encode(cart: &Cart) -> Result<proto::cart::v1::Cart, MoneyError> {
    Ok(proto::cart::v1::Cart {
        cart_id: cart.id.map(|id| id.0.to_string()).unwrap_or_default(),
        user_id: cart.user.as_str().to_owned(),
        items: cart.lines.iter().map(item).collect::<Result<_, _>>()?,
        total_price: Some(cart.total()?.into()),
        version: cart.version.0,
        updated_at: cart.updated_at.map(timestamp),
        in_checkout: cart.holds.iter().map(hold).collect::<Result<_, _>>()?,
    })
}

fn hold(hold: &Hold) -> Result<proto::cart::v1::Hold, MoneyError> {
    Ok(proto::cart::v1::Hold {
        checkout_id: hold.checkout.0.to_string(),
        items: hold.lines.iter().map(item).collect::<Result<_, _>>()?,
    })
}

fn item(line: &Line) -> Result<proto::cart::v1::CartItem, MoneyError> {
    Ok(proto::cart::v1::CartItem {
        product_id: line.product.get(),
        product_name: line.name.clone(),
        price: Some(line.price.into()),
        quantity: line.quantity.into(),
        subtotal: Some(line.subtotal()?.into()),
        added_at: Some(timestamp(line.added_at)),
    })
}
