//! Conversions between wire and domain.

use money::{MoneyError, Quantity};
use proto::{
    cart::v1 as wire,
    convert::{checkout_id, idempotency_key, timestamp, uuid},
    status::Refusal,
};
use storage::StoreError;
use tonic::{Status, metadata::MetadataMap};

use super::status::{refuse, refused};
use crate::{
    app::CartError,
    domain::{
        CallId, Cart, CartId, ChangeOptions, Hold, HoldRequest, IdempotencyKey, Line, ProductId, ProductQuantity,
        Version, line_quantity,
    },
};

pub(super) fn quantity(pieces: i32) -> Result<Quantity, Refusal> {
    line_quantity(i64::from(pieces)).map_err(refused)
}

/// The options of a change, without a key.
pub(super) fn options(expected_version: Option<i64>, metadata: &MetadataMap) -> Result<ChangeOptions, Refusal> {
    let expected_version = expected_version.map(|value| version("expected_version", value));
    Ok(ChangeOptions {
        expected_version: expected_version.transpose()?,
        call_id: runtime::channel::call_id(metadata).map(CallId),
        idempotency_key: None,
    })
}

/// The idempotency key; empty for none.
pub(super) fn key(text: &str) -> Result<Option<IdempotencyKey>, Refusal> {
    (!text.is_empty()).then(|| idempotency_key(text)).transpose()
}

pub(super) fn hold_request(request: &wire::HoldRequest) -> Result<HoldRequest, Refusal> {
    let cart = match request.cart_id.as_str() {
        "" => None,
        id => Some(CartId(uuid("cart_id", id)?)),
    };
    if request.lines.is_empty() {
        return Err(Refusal::field("lines", "there must be at least one line"));
    }
    let pieces = request.lines.iter().map(|line| {
        let quantity = Quantity::new(line.quantity);
        // Lines of earlier versions may have ids above today's maximum and can still be bought.
        let product = ProductId::new(line.product_id);
        Ok(ProductQuantity {
            product: product.ok_or_else(|| Refusal::field("lines.product_id", "product_id must be 1 or more"))?,
            quantity: quantity.map_err(|error| Refusal::field("lines.quantity", error.to_string()))?,
        })
    });
    Ok(HoldRequest {
        checkout: checkout_id(&request.checkout_id)?,
        cart,
        cart_version: version("cart_version", request.cart_version)?,
        pieces: pieces.collect::<Result<_, Refusal>>()?,
    })
}

fn version(field: &'static str, value: i64) -> Result<Version, Refusal> {
    let version = (value >= 0).then_some(Version(value));
    version.ok_or_else(|| Refusal::field(field, format!("{field} must not be negative")))
}

pub(super) fn cart(cart: &Cart) -> Result<wire::Cart, Status> {
    // No change makes a total that cannot be computed: the stored cart breaks a rule.
    encode(cart).map_err(|error| refuse(CartError::Store(StoreError::corrupt(error))))
}

fn encode(cart: &Cart) -> Result<wire::Cart, MoneyError> {
    Ok(wire::Cart {
        cart_id: cart.id.map(|id| id.0.to_string()).unwrap_or_default(),
        user_id: cart.user.as_str().to_owned(),
        items: cart.lines.iter().map(item).collect::<Result<_, _>>()?,
        total_price: Some(cart.total()?.into()),
        version: cart.version.0,
        updated_at: cart.updated_at.map(timestamp),
        in_checkout: cart.holds.iter().map(hold).collect::<Result<_, _>>()?,
    })
}

fn hold(hold: &Hold) -> Result<wire::Hold, MoneyError> {
    Ok(wire::Hold {
        checkout_id: hold.checkout.0.to_string(),
        items: hold.lines.iter().map(item).collect::<Result<_, _>>()?,
    })
}

fn item(line: &Line) -> Result<wire::CartItem, MoneyError> {
    Ok(wire::CartItem {
        product_id: line.product.get(),
        product_name: line.name.clone(),
        price: Some(line.price.into()),
        quantity: line.quantity.into(),
        subtotal: Some(line.subtotal()?.into()),
        added_at: Some(timestamp(line.added_at)),
    })
}
