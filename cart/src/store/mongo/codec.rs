//! A cart as a readable document: its `_id` is the customer's id, times are dates.

use mongodb::bson::{Bson, DateTime, Document, deserialize_from_document, doc, serialize_to_document};
use storage::StoreError;

use crate::{document::CartDocument, domain::Cart};

pub(super) const UPDATED_AT: &str = "updated_at";
const ID: &str = "_id";
const USER: &str = "user";
const TIMES: [&str; 3] = [UPDATED_AT, "added_at", "at"];

pub(super) fn encode(cart: &Cart) -> Result<Document, StoreError> {
    let document = CartDocument::try_from(cart).map_err(StoreError::corrupt)?;
    let mut fields = serialize_to_document(&document).map_err(StoreError::corrupt)?;
    fields.remove(USER);
    change_times(&mut fields, &|time| {
        let milliseconds = time.as_i64()?;
        Some(Bson::DateTime(DateTime::from_millis(milliseconds)))
    });
    let mut stored = doc! { ID: document.user };
    stored.extend(fields);
    Ok(stored)
}

pub(super) fn decode(mut stored: Document) -> Result<Cart, StoreError> {
    if let Some(user) = stored.remove(ID) {
        stored.insert(USER, user);
    }
    change_times(&mut stored, &|time| {
        let date = time.as_datetime()?;
        Some(Bson::Int64(date.timestamp_millis()))
    });
    let document: CartDocument = deserialize_from_document(stored).map_err(StoreError::corrupt)?;
    document.try_into().map_err(StoreError::corrupt)
}

/// Converts the valid times at any depth. Invalid ones fail when the document is decoded.
fn change_times(fields: &mut Document, change: &impl Fn(&Bson) -> Option<Bson>) {
    for (name, value) in fields.iter_mut() {
        if TIMES.contains(&name.as_str()) {
            if let Some(changed) = change(value) {
                *value = changed;
            }
        } else if let Bson::Document(inner) = value {
            change_times(inner, change);
        } else if let Bson::Array(items) = value {
            let inner = items.iter_mut().filter_map(Bson::as_document_mut);
            inner.for_each(|inner| change_times(inner, change));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use money::{Money, Quantity};
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        CartId, CheckoutId, EventId, HoldOutcome, HoldRequest, Offer, ProductId, ProductQuantity, UserId,
    };

    fn cart() -> Cart {
        let at = Timestamp::from_second(1_750_000_000).unwrap();
        let mut cart = Cart::new(UserId::new("u").unwrap());
        let offer = Offer {
            product: ProductId::new(2).unwrap(),
            name: "Mouse".to_owned(),
            price: Money::usd(2999),
        };
        cart.add(offer, Quantity::new(3).unwrap(), at).unwrap();
        cart.bump_version(CartId(Uuid::from_u128(1)), at);
        cart.apply_purchase(EventId(Uuid::from_u128(u128::MAX)), &[]);
        cart
    }

    #[test]
    fn a_stored_document_is_readable() {
        let at = DateTime::from_millis(1_750_000_000_000);
        let expected = doc! {
            "_id": "u",
            "cart_id": "00000000-0000-0000-0000-000000000001",
            "version": 1_i64,
            "lines": [{
                "product": 2_i64, "name": "Mouse", "price": 2999_i64, "currency": "USD", "seen_in": 1_i64, "quantity": 3_i64,
                "added_at": at,
            }],
            "updated_at": at,
            "last_hold": 0_i64,
            "applied_floor": "01976efa-8000-7000-8000-000000000000",
            "applied": ["ffffffff-ffff-ffff-ffff-ffffffffffff"],
            "calls": [],
            "keys": [],
        };
        assert_eq!(encode(&cart()).unwrap(), expected);
        assert_eq!(decode(expected).unwrap(), cart());
    }

    #[test]
    fn a_cart_with_holds_has_no_time_by_which_it_could_expire() {
        let mut cart = cart();
        let request = HoldRequest {
            checkout: CheckoutId(Uuid::from_u128(9)),
            cart: cart.id,
            cart_version: cart.version,
            pieces: vec![ProductQuantity {
                product: ProductId::new(2).unwrap(),
                quantity: Quantity::new(1).unwrap(),
            }],
        };
        assert_eq!(cart.hold(&request), HoldOutcome::Held);
        let stored = encode(&cart).unwrap();
        assert!(!stored.contains_key(UPDATED_AT), "{stored}");
        let held = stored.get_document("held").unwrap();
        assert!(held.get_datetime(UPDATED_AT).is_ok(), "{stored}");
        let first = held.get_array("holds").unwrap()[0].as_document().unwrap();
        let line = first.get_array("lines").unwrap()[0].as_document().unwrap();
        assert!(line.get_datetime("added_at").is_ok(), "{stored}");
        assert_eq!(decode(stored).unwrap(), cart);
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_corrupt() {
        let good = encode(&cart()).unwrap();
        let damages = [
            ("_id", Bson::Int32(1)),
            ("version", Bson::Int64(0)),
            ("version", Bson::Null),
            ("lines", Bson::Array(vec![Bson::Null])),
            ("updated_at", Bson::String("yesterday".to_owned())),
            ("applied", Bson::Array(vec![Bson::String("?".to_owned())])),
        ];
        for (field, damage) in damages {
            let mut bad = good.clone();
            bad.insert(field, damage.clone());
            assert!(matches!(decode(bad), Err(StoreError::Corrupt(_))), "{field}: {damage}");
        }
    }
}
