//! The stored form of a cart: times in milliseconds since 1970, prices in minor units.

use jiff::Timestamp;
use money::{Currency, Money, Quantity};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    Added, AppliedCall, AppliedCalls, AppliedEvents, CallId, Cart, CartId, CheckoutId, EventId, Hold, IdempotencyKey,
    Line, ProductId, UsedKey, UserId, Version,
};

/// A stored cart. New fields need a default, so that old documents can be read.
///
/// A cart with holds has its lines and its time in `held` and not at the top level. A process of a version before holds
/// then finds no `lines` and refuses the cart, instead of dropping the holds with its next change. A store that expires
/// carts by `updated_at` keeps the cart.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CartDocument {
    pub(crate) user: String,
    pub(crate) cart_id: Uuid,
    pub(crate) version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<LineDocument>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldDocument>,
    /// A process of a version before holds drops this field. `version` then takes its place, so that requests made from
    /// an earlier version are refused.
    last_hold: Option<i64>,
    /// Events at or below this id count as applied.
    applied_floor: Option<Uuid>,
    applied: Vec<Uuid>,
    #[serde(default)]
    calls: Vec<CallDocument>,
    #[serde(default)]
    keys: Vec<KeyDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LineDocument {
    product: i64,
    name: String,
    price: i64,
    currency: Currency,
    #[serde(default)]
    seen_in: i64,
    quantity: i64,
    added_at: i64,
}

/// The content of a cart with holds.
#[derive(Debug, Serialize, Deserialize)]
struct HeldDocument {
    lines: Vec<LineDocument>,
    updated_at: i64,
    holds: Vec<HoldDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HoldDocument {
    checkout: Uuid,
    lines: Vec<LineDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CallDocument {
    id: Uuid,
    #[serde(default)]
    ask: Option<String>,
    /// Whether an addition made a new line.
    created: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeyDocument {
    key: String,
    ask: String,
    at: i64,
}

/// Names the invalid field of a document or of a cart to store.
#[derive(Debug, thiserror::Error)]
#[error("the document of a cart has no valid {0}")]
pub(crate) struct Invalid(&'static str);

impl TryFrom<&Cart> for CartDocument {
    type Error = Invalid;

    fn try_from(cart: &Cart) -> Result<Self, Invalid> {
        let lines = lines_of(&cart.lines);
        let updated_at = cart.updated_at.ok_or(Invalid("updated_at"))?.as_millisecond();
        let (free, held) = if cart.holds.is_empty() {
            (Some((lines, updated_at)), None)
        } else {
            let document = |hold: &Hold| HoldDocument {
                checkout: hold.checkout.0,
                lines: lines_of(&hold.lines),
            };
            let holds = cart.holds.iter().map(document).collect();
            let all = HeldDocument {
                lines,
                updated_at,
                holds,
            };
            (None, Some(all))
        };
        let (lines, updated_at) = free.unzip();
        Ok(Self {
            user: cart.user.as_str().to_owned(),
            cart_id: cart.id.ok_or(Invalid("id"))?.0,
            version: cart.version.0,
            lines,
            updated_at,
            held,
            last_hold: Some(cart.last_hold.0),
            applied_floor: cart.applied.floor().map(|event| event.0),
            applied: cart.applied.recent().map(|event| event.0).collect(),
            calls: cart.calls.calls().map(CallDocument::from).collect(),
            keys: cart.calls.keys().map(KeyDocument::from).collect(),
        })
    }
}

impl CartDocument {
    /// Decodes the cart of this customer. A document under a wrong key must not show another customer's cart.
    pub(crate) fn into_cart(self, user: &UserId) -> Result<Cart, Invalid> {
        if self.user == user.as_str() {
            self.try_into()
        } else {
            Err(Invalid("user"))
        }
    }
}

impl TryFrom<CartDocument> for Cart {
    type Error = Invalid;

    fn try_from(document: CartDocument) -> Result<Self, Invalid> {
        if document.version < 1 {
            return Err(Invalid("version"));
        }
        let (lines, updated_at, holds) = match document.held {
            Some(held) => (held.lines, held.updated_at, held.holds),
            None => (
                document.lines.ok_or(Invalid("lines"))?,
                document.updated_at.ok_or(Invalid("updated_at"))?,
                Vec::new(),
            ),
        };
        let hold = |hold: HoldDocument| {
            Ok(Hold {
                checkout: CheckoutId(hold.checkout),
                lines: hold.lines.into_iter().map(Line::try_from).collect::<Result<_, _>>()?,
            })
        };
        let calls = document.calls.into_iter().map(AppliedCall::from);
        let keys = document.keys.into_iter().map(UsedKey::try_from);
        let cart = Self {
            user: UserId::stored(document.user),
            id: Some(CartId(document.cart_id)),
            version: Version(document.version),
            lines: lines.into_iter().map(Line::try_from).collect::<Result<_, _>>()?,
            holds: holds.into_iter().map(hold).collect::<Result<_, _>>()?,
            last_hold: Version(document.last_hold.unwrap_or(document.version)),
            updated_at: Some(time(updated_at)?),
            applied: AppliedEvents::restore(
                document.applied_floor.map(EventId),
                document.applied.into_iter().map(EventId),
            ),
            calls: AppliedCalls::restore(calls, keys.collect::<Result<Vec<_>, _>>()?),
        };
        cart.total().map_err(|_| Invalid("total"))?;
        Ok(cart)
    }
}

fn lines_of(lines: &[Line]) -> Vec<LineDocument> {
    let line = |line: &Line| LineDocument {
        product: line.product.get(),
        name: line.name.clone(),
        price: line.price.minor_units(),
        currency: line.price.currency(),
        seen_in: line.seen_in.0,
        quantity: line.quantity.get(),
        added_at: line.added_at.as_millisecond(),
    };
    lines.iter().map(line).collect()
}

impl TryFrom<LineDocument> for Line {
    type Error = Invalid;

    fn try_from(line: LineDocument) -> Result<Self, Invalid> {
        Ok(Self {
            product: ProductId::new(line.product).ok_or(Invalid("product"))?,
            name: line.name,
            price: Money::new(line.price, line.currency),
            seen_in: Version(line.seen_in),
            quantity: Quantity::new(line.quantity).map_err(|_| Invalid("quantity"))?,
            added_at: time(line.added_at)?,
        })
    }
}

impl From<&AppliedCall> for CallDocument {
    fn from(call: &AppliedCall) -> Self {
        Self {
            id: call.id.0,
            ask: call.fingerprint.clone(),
            created: call.added.map(|added| added == Added::NewLine),
        }
    }
}

impl From<CallDocument> for AppliedCall {
    fn from(call: CallDocument) -> Self {
        let added = |created| if created { Added::NewLine } else { Added::ExistingLine };
        Self {
            id: CallId(call.id),
            fingerprint: call.ask,
            added: call.created.map(added),
        }
    }
}

impl From<&UsedKey> for KeyDocument {
    fn from(used: &UsedKey) -> Self {
        Self {
            key: used.key.as_str().to_owned(),
            ask: used.fingerprint.clone(),
            at: used.at.as_millisecond(),
        }
    }
}

impl TryFrom<KeyDocument> for UsedKey {
    type Error = Invalid;

    fn try_from(used: KeyDocument) -> Result<Self, Invalid> {
        Ok(Self {
            key: IdempotencyKey::new(used.key).ok_or(Invalid("key"))?,
            fingerprint: used.ask,
            at: time(used.at)?,
        })
    }
}

fn time(milliseconds: i64) -> Result<Timestamp, Invalid> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| Invalid("time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{HoldOutcome, HoldRequest, ProductQuantity};

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
        assert_eq!(cart.calls.calls().count(), 2);
        let json = serde_json::to_string(&CartDocument::try_from(&cart).unwrap()).unwrap();
        assert_eq!(decode(&json).unwrap(), cart);
    }

    #[test]
    fn a_document_without_calls_is_read() {
        let (old, _) = GOOD.split_once(",\n        \"calls\"").unwrap();
        let cart = decode(&format!("{old}}}")).unwrap();
        assert_eq!(cart.calls, AppliedCalls::default());
        assert_eq!(cart.version, Version(3));
    }

    fn with_a_hold() -> Cart {
        let mut cart = decode(GOOD).unwrap();
        let request = HoldRequest {
            checkout: CheckoutId(Uuid::from_u128(9)),
            cart: cart.id,
            cart_version: cart.version,
            pieces: vec![ProductQuantity {
                product: ProductId::new(1).unwrap(),
                quantity: Quantity::new(1).unwrap(),
            }],
        };
        assert_eq!(cart.hold(&request), HoldOutcome::Held);
        cart
    }

    #[test]
    fn a_cart_with_holds_is_read_as_it_was_written() {
        let cart = with_a_hold();
        let json = serde_json::to_string(&CartDocument::try_from(&cart).unwrap()).unwrap();
        assert_eq!(decode(&json).unwrap(), cart);
    }

    /// A document as versions before holds read it.
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only whether the document can be read matters")]
    struct WithoutHolds {
        user: String,
        cart_id: Uuid,
        version: i64,
        lines: Vec<LineDocument>,
        updated_at: i64,
        applied_floor: Option<Uuid>,
        applied: Vec<Uuid>,
        #[serde(default)]
        calls: Vec<CallDocument>,
    }

    #[test]
    fn a_version_before_holds_reads_carts_without_holds_and_refuses_carts_with_holds() {
        let read = |cart: &Cart| {
            let json = serde_json::to_string(&CartDocument::try_from(cart).unwrap()).unwrap();
            serde_json::from_str::<WithoutHolds>(&json)
        };
        let mut cart = with_a_hold();
        let error = read(&cart).unwrap_err();
        assert!(error.to_string().contains("missing field `lines`"), "{error}");
        cart.give_back(CheckoutId(Uuid::from_u128(9))).unwrap();
        assert_eq!(read(&cart).unwrap().lines.len(), 1);
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_refused() {
        let damages = [
            (r#""version":3"#, r#""version":0"#),
            (r#""quantity":2"#, r#""quantity":1000001"#),
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
    fn a_cart_that_was_never_changed_has_no_document() {
        let cart = Cart::new(UserId::new("u").unwrap());
        assert!(CartDocument::try_from(&cart).is_err());
    }
}
