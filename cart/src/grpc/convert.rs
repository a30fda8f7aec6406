//! The wire's values as ours, and back.

use money::{MoneyError, Quantity};
use proto::{convert::timestamp, status::Refusal};
use tonic::{Status, metadata::MetadataMap};

use super::status::{refuse, refused};
use crate::{
    app::{CartError, Terms},
    domain::{CallId, Cart, Line, ProductId, Refused, UserId, Version, line_quantity},
};

pub(super) fn user(wire: &str) -> Result<UserId, Refusal> {
    proto::convert::user_id(wire).map(UserId::new)
}

pub(super) fn product(wire: i64) -> Result<ProductId, Refusal> {
    let wrong = || Refusal::field("product_id", "it is not an id");
    ProductId::new(proto::convert::product_id("product_id", wire)?).ok_or_else(wrong)
}

pub(super) fn quantity(wire: i32) -> Result<Quantity, Refusal> {
    line_quantity(i64::from(wire)).map_err(refused)
}

/// The id of the call, by which it is known when it is delivered again.
pub(super) fn call(metadata: &MetadataMap) -> Option<CallId> {
    runtime::channel::call_id(metadata).map(CallId)
}

/// What the caller says with a change: the version that it expects, if it does, and the call itself.
pub(super) fn terms(expected_version: Option<i64>, call: Option<CallId>) -> Result<Terms, Refusal> {
    match expected_version {
        Some(version) if version < 0 => Err(Refusal::field(
            "expected_version",
            "expected_version must not be negative",
        )),
        expected => Ok(Terms {
            expected: expected.map(Version),
            call,
        }),
    }
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
    })
}

fn item(line: &Line) -> Result<proto::cart::v1::CartItem, MoneyError> {
    Ok(proto::cart::v1::CartItem {
        product_id: line.product.get(),
        product_name: line.name.clone(),
        price: Some(line.price.into()),
        // At most 99, by the rules.
        quantity: i32::try_from(line.quantity.get()).unwrap_or(i32::MAX),
        subtotal: Some(line.subtotal()?.into()),
        added_at: Some(timestamp(line.added_at)),
    })
}
