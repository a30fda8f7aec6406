//! Conversions between wire values and shared values.

use jiff::Timestamp;
use money::{Currency, Money};
use uuid::{Uuid, fmt::Hyphenated};

use crate::{
    Reason,
    ids::{CheckoutId, ERASED_USER, IdempotencyKey, MAX_PRODUCT_ID, OrderId, PaymentMethod, ProductId, UserId},
    status::Refusal,
};

impl From<Money> for crate::money::v1::Money {
    fn from(money: Money) -> Self {
        Self {
            currency_code: money.currency().to_string(),
            minor_units: money.minor_units(),
        }
    }
}

/// An amount that the request must have.
pub fn money(field: &str, wire: Option<crate::money::v1::Money>) -> Result<Money, Refusal> {
    let wire = wire.ok_or_else(|| Refusal::field(field, format!("{field} is required")))?;
    let refused = |why: &str| Refusal::field(&format!("{field}.currency_code"), why);
    let currency: Currency = wire.currency_code.parse().map_err(|e| refused(&format!("{e}")))?;
    if !currency.is_current() {
        return Err(refused("a currency is a code of ISO 4217 in which money is paid"));
    }
    let money = Money::new(wire.minor_units, currency);
    if money.is_in_bounds() {
        return Ok(money);
    }
    let most = Money::MAX_MINOR_UNITS;
    Err(Refusal::field(
        &format!("{field}.minor_units"),
        format!("{field}.minor_units must be at most {most}"),
    ))
}

pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

/// `None` if the time is absent or out of range.
pub fn from_timestamp(wire: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let wire = wire?;
    Timestamp::new(wire.seconds, wire.nanos).ok()
}

/// The page size: 0 means 20, more than 100 means 100.
pub fn page_size(requested: i32) -> Result<u32, Refusal> {
    match u32::try_from(requested) {
        Ok(0) => Ok(20),
        Ok(size) => Ok(size.min(100)),
        Err(_) => Err(Refusal::field("page_size", "page_size must not be negative")),
    }
}

pub fn product_id(field: &str, wire: i64) -> Result<ProductId, Refusal> {
    let id = ProductId::new(wire).filter(|_| wire <= MAX_PRODUCT_ID);
    let message = || format!("a product id is 1 to {MAX_PRODUCT_ID}");
    id.ok_or_else(|| Refusal::new(Reason::InvalidProductId, message()).at(field))
}

pub fn checkout_id(wire: &str) -> Result<CheckoutId, Refusal> {
    uuid("checkout_id", wire).map(CheckoutId)
}

/// The most characters of an invalid id that the answer repeats: statuses travel in headers, whose size is limited.
const MAX_REPEATED: usize = 100;

pub fn order_id(wire: &str) -> Result<OrderId, Refusal> {
    let invalid = |_| {
        let repeated: String = wire.chars().take(MAX_REPEATED).collect();
        let cut = if repeated.len() < wire.len() { "…" } else { "" };
        Refusal::field("order_id", format!("invalid order_id: {repeated}{cut}"))
    };
    uuid("order_id", wire).map(OrderId).map_err(invalid)
}

/// A UUID with hyphens. Other forms are refused.
pub fn uuid(field: &str, wire: &str) -> Result<Uuid, Refusal> {
    let uuid = Uuid::try_parse(wire).ok().filter(|_| wire.len() == Hyphenated::LENGTH);
    uuid.ok_or_else(|| must_be(field, "a UUID"))
}

/// The most checkouts of one erasure request.
pub const MAX_ERASED: usize = 100;

/// The checkouts of an erasure request.
pub fn checkout_ids(wire: &[String]) -> Result<Vec<CheckoutId>, Refusal> {
    let wrong = || must_be("checkout_ids", &format!("at most {MAX_ERASED} UUIDs"));
    if wire.len() > MAX_ERASED {
        return Err(wrong());
    }
    let id = |id: &String| uuid("checkout_ids", id).map(CheckoutId).map_err(|_| wrong());
    wire.iter().map(id).collect()
}

/// A user's id. The prefix of owners of erased purchases is refused.
pub fn user_id(wire: &str) -> Result<UserId, Refusal> {
    if wire.starts_with(ERASED_USER) {
        let message = format!("user_id must not begin with {ERASED_USER}");
        return Err(Refusal::field("user_id", message));
    }
    UserId::new(wire).ok_or_else(|| must_be("user_id", UserId::RULE))
}

pub fn idempotency_key(wire: &str) -> Result<IdempotencyKey, Refusal> {
    IdempotencyKey::new(wire).ok_or_else(|| must_be("idempotency_key", IdempotencyKey::RULE))
}

pub fn payment_method(wire: &str) -> Result<PaymentMethod, Refusal> {
    PaymentMethod::new(wire).ok_or_else(|| must_be("payment_method", PaymentMethod::RULE))
}

/// The position after which a page begins; `None` for the first page. `read` gives the position in a token of this list.
pub fn page_token<T>(wire: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
    let wrong = || must_be("page_token", "the next_page_token of another page of this list");
    (!wire.is_empty()).then(|| read(wire).ok_or_else(wrong)).transpose()
}

fn must_be(field: &str, rule: &str) -> Refusal {
    Refusal::field(field, format!("{field} must be {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_id_begins_like_the_owner_of_an_erased_purchase() {
        assert!(user_id("erased:01900000-0000-7000-8000-000000000001").is_err());
        assert!(user_id(ERASED_USER).is_err());
        assert!(user_id("erased").is_ok(), "only the whole prefix is refused");
    }

    #[test]
    fn an_id_is_a_uuid_with_hyphens_in_either_case() {
        let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00ab);
        let hyphenated = id.to_string();
        for fine in [hyphenated.clone(), hyphenated.to_uppercase()] {
            assert_eq!(uuid("id", &fine).unwrap(), id);
            assert_eq!(checkout_id(&fine).unwrap(), CheckoutId(id));
            assert_eq!(order_id(&fine).unwrap(), OrderId(id));
            assert_eq!(checkout_ids(&[fine]).unwrap(), [CheckoutId(id)]);
        }
        for wrong in [
            String::new(),
            id.simple().to_string(),
            id.simple().to_string().to_uppercase(),
            id.braced().to_string(),
            id.urn().to_string(),
            format!("{hyphenated} "),
        ] {
            assert!(uuid("id", &wrong).is_err(), "{wrong}");
            assert!(checkout_id(&wrong).is_err(), "{wrong}");
            assert!(order_id(&wrong).is_err(), "{wrong}");
            assert!(checkout_ids(std::slice::from_ref(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_erasure_request_has_at_most_a_hundred_checkouts() {
        let ids = vec![Uuid::max().to_string(); MAX_ERASED];
        assert_eq!(checkout_ids(&ids).unwrap().len(), MAX_ERASED);
        assert!(checkout_ids(&[&ids[..], &ids[..1]].concat()).is_err());
        assert!(checkout_ids(&["1".to_owned()]).is_err());
    }
}
