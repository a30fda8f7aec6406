//! A cart as stores and caches keep it: times in milliseconds since 1970, prices in minor units.

use jiff::Timestamp;
use money::{Currency, Money};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    Added, AppliedCall, AppliedCalls, AppliedEvents, CallId, Cart, CartId, EventId, Line, ProductId, UserId, Version,
    line_quantity,
};

/// A cart that was filled at least once. Fields are only ever added, with a default: what was stored before can be read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CartDocument {
    pub(crate) user: String,
    pub(crate) cart_id: Uuid,
    pub(crate) version: i64,
    lines: Vec<LineDocument>,
    pub(crate) updated_at: i64,
    /// Events at or under this one count as applied.
    applied_floor: Option<Uuid>,
    applied: Vec<Uuid>,
    #[serde(default)]
    calls: Vec<CallDocument>,
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

#[derive(Debug, Serialize, Deserialize)]
struct CallDocument {
    id: Uuid,
    /// Whether it made a line; nothing for calls that do not add.
    created: Option<bool>,
}

/// What is wrong with a document, or with a cart that is to become one.
#[derive(Debug, thiserror::Error)]
#[error("the document of a cart has no valid {0}")]
pub(crate) struct Invalid(&'static str);

impl TryFrom<&Cart> for CartDocument {
    type Error = Invalid;

    fn try_from(cart: &Cart) -> Result<Self, Invalid> {
        let line = |line: &Line| LineDocument {
            product: line.product.get(),
            name: line.name.clone(),
            price: line.price.minor_units(),
            currency: line.price.currency(),
            quantity: line.quantity.get(),
            added_at: line.added_at.as_millisecond(),
        };
        let call = |call: AppliedCall| CallDocument {
            id: call.id.0,
            created: call.added.map(|added| added == Added::NewLine),
        };
        Ok(Self {
            user: cart.user.as_str().to_owned(),
            cart_id: cart.id.ok_or(Invalid("id"))?.0,
            version: cart.version.0,
            lines: cart.lines.iter().map(line).collect(),
            updated_at: cart.updated_at.ok_or(Invalid("updated_at"))?.as_millisecond(),
            applied_floor: cart.applied.floor().map(|event| event.0),
            applied: cart.applied.recent().map(|event| event.0).collect(),
            calls: cart.calls.iter().map(call).collect(),
        })
    }
}

impl TryFrom<CartDocument> for Cart {
    type Error = Invalid;

    fn try_from(document: CartDocument) -> Result<Self, Invalid> {
        if document.version < 1 {
            return Err(Invalid("version"));
        }
        let call = |call: CallDocument| AppliedCall {
            id: CallId(call.id),
            added: call
                .created
                .map(|created| if created { Added::NewLine } else { Added::ToLine }),
        };
        let cart = Self {
            user: UserId::new(document.user),
            id: Some(CartId(document.cart_id)),
            version: Version(document.version),
            lines: document.lines.into_iter().map(line).collect::<Result<_, _>>()?,
            updated_at: Some(time(document.updated_at)?),
            applied: AppliedEvents::restore(
                document.applied_floor.map(EventId),
                document.applied.into_iter().map(EventId),
            ),
            calls: AppliedCalls::restore(document.calls.into_iter().map(call)),
        };
        cart.total().map_err(|_| Invalid("total"))?;
        Ok(cart)
    }
}

fn line(line: LineDocument) -> Result<Line, Invalid> {
    Ok(Line {
        product: ProductId::new(line.product).ok_or(Invalid("product"))?,
        name: line.name,
        price: Money::new(line.price, line.currency),
        quantity: line_quantity(line.quantity).map_err(|_| Invalid("quantity"))?,
        added_at: time(line.added_at)?,
    })
}

fn time(milliseconds: i64) -> Result<Timestamp, Invalid> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| Invalid("time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"user":"u","cart_id":"00000000-0000-0000-0000-000000000001","version":3,"updated_at":5,
        "lines":[{"product":1,"name":"a","price":250,"currency":"USD","quantity":2,"added_at":4}],
        "applied_floor":null,"applied":["00000000-0000-0000-0000-000000000002"],
        "calls":[{"id":"00000000-0000-0000-0000-000000000003","created":true},
                 {"id":"00000000-0000-0000-0000-000000000004","created":null}]}"#;

    fn decode(json: &str) -> Result<Cart, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str::<CartDocument>(json)?.try_into()?)
    }

    #[test]
    fn a_cart_is_read_as_it_was_written() {
        let cart = decode(GOOD).unwrap();
        assert_eq!(cart.total(), Ok(Money::usd(500)));
        assert_eq!(cart.calls.iter().count(), 2);
        let json = serde_json::to_string(&CartDocument::try_from(&cart).unwrap()).unwrap();
        assert_eq!(decode(&json).unwrap(), cart);
    }

    #[test]
    fn a_cart_that_was_written_before_calls_were_is_read() {
        let (old, _) = GOOD.split_once(",\n        \"calls\"").unwrap();
        let cart = decode(&format!("{old}}}")).unwrap();
        assert_eq!(cart.calls, AppliedCalls::default());
        assert_eq!(cart.version, Version(3));
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_refused() {
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
            assert!(decode(&GOOD.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cart_that_was_never_filled_has_no_document() {
        let cart = Cart::never_filled(UserId::new("u"));
        assert!(CartDocument::try_from(&cart).is_err());
    }
}
