//! A cart as stores keep it: JSON, with times in milliseconds since 1970 and prices in minor units.

use jiff::Timestamp;
use money::{Currency, Money};
use serde::{Deserialize, Serialize};
use storage::StoreError;
use uuid::Uuid;

use crate::domain::{AppliedEvents, Cart, CartId, EventId, Line, ProductId, UserId, Version, line_quantity};

#[derive(Debug, Serialize, Deserialize)]
struct CartDocument {
    user: String,
    cart_id: Uuid,
    version: i64,
    lines: Vec<LineDocument>,
    updated_at: i64,
    /// Events at or under this one count as applied.
    applied_floor: Option<Uuid>,
    applied: Vec<Uuid>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LineDocument {
    product: i64,
    name: String,
    price: i64,
    currency: Currency,
    quantity: i64,
    added_at: i64,
}

/// A cart ready to be stored.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) user: String,
    pub(super) cart_id: String,
    pub(super) version: i64,
    pub(super) updated_at: i64,
    pub(super) json: String,
}

/// What is wrong with a document.
#[derive(Debug, thiserror::Error)]
#[error("the document of a cart has no valid {0}")]
struct Invalid(&'static str);

fn invalid(what: &'static str) -> StoreError {
    StoreError::corrupt(Invalid(what))
}

pub(super) fn encode(cart: &Cart) -> Result<Encoded, StoreError> {
    let cart_id = cart.id.ok_or_else(|| invalid("id"))?.0;
    let updated_at = cart.updated_at.ok_or_else(|| invalid("updated_at"))?.as_millisecond();
    let line = |line: &Line| LineDocument {
        product: line.product.get(),
        name: line.name.clone(),
        price: line.price.minor_units(),
        currency: line.price.currency(),
        quantity: line.quantity.get(),
        added_at: line.added_at.as_millisecond(),
    };
    let document = CartDocument {
        user: cart.user.as_str().to_owned(),
        cart_id,
        version: cart.version.0,
        lines: cart.lines.iter().map(line).collect(),
        updated_at,
        applied_floor: cart.applied.floor().map(|event| event.0),
        applied: cart.applied.recent().map(|event| event.0).collect(),
    };
    let json = serde_json::to_string(&document).map_err(StoreError::corrupt)?;
    let cart_id = cart_id.to_string();
    Ok(Encoded {
        user: document.user,
        cart_id,
        version: document.version,
        updated_at,
        json,
    })
}

pub(super) fn decode(json: &str) -> Result<Cart, StoreError> {
    let document: CartDocument = serde_json::from_str(json).map_err(StoreError::corrupt)?;
    if document.version < 1 {
        return Err(invalid("version"));
    }
    let cart = Cart {
        user: UserId::new(document.user),
        id: Some(CartId(document.cart_id)),
        version: Version(document.version),
        lines: document.lines.into_iter().map(line).collect::<Result<_, _>>()?,
        updated_at: Some(time(document.updated_at)?),
        applied: AppliedEvents::restore(
            document.applied_floor.map(EventId),
            document.applied.into_iter().map(EventId),
        ),
    };
    cart.total().map_err(|_| invalid("total"))?;
    Ok(cart)
}

fn line(line: LineDocument) -> Result<Line, StoreError> {
    Ok(Line {
        product: ProductId::new(line.product).ok_or_else(|| invalid("product"))?,
        name: line.name,
        price: Money::new(line.price, line.currency),
        quantity: line_quantity(line.quantity).map_err(|_| invalid("quantity"))?,
        added_at: time(line.added_at)?,
    })
}

fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| invalid("time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"user":"u","cart_id":"00000000-0000-0000-0000-000000000001","version":3,"updated_at":5,
        "lines":[{"product":1,"name":"a","price":250,"currency":"USD","quantity":2,"added_at":4}],
        "applied_floor":null,"applied":["00000000-0000-0000-0000-000000000002"]}"#;

    #[test]
    fn a_stored_cart_is_read_as_it_was_written() {
        let cart = decode(GOOD).unwrap();
        assert_eq!(cart.total(), Ok(Money::usd(500)));
        assert_eq!(decode(&encode(&cart).unwrap().json).unwrap(), cart);
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_corrupt() {
        let damages = [
            (r#""version":3"#, r#""version":0"#),
            (r#""quantity":2"#, r#""quantity":100"#),
            (r#""quantity":2"#, r#""quantity":0"#),
            (r#""product":1"#, r#""product":0"#),
            (r#""price":250"#, r#""price":9223372036854775807"#),
            (r#""price":250"#, r#""price":2.5"#),
            (r#""added_at":4"#, r#""added_at":9223372036854775807"#),
            ("USD", "dollars"),
            (r#""user":"u","#, ""),
        ];
        for (good, bad) in damages {
            let document = GOOD.replace(good, bad);
            assert!(matches!(decode(&document), Err(StoreError::Corrupt(_))), "{bad}");
        }
    }

    #[test]
    fn a_cart_that_was_never_filled_is_not_stored() {
        let cart = Cart::never_filled(UserId::new("u"));
        assert!(matches!(encode(&cart), Err(StoreError::Corrupt(_))));
    }
}
