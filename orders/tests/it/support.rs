//! Purchases and their events.

use events::Event;
use jiff::Timestamp;
use money::{Amount, Currency};
use proto::events::{CheckoutCompleted, PurchasedItem};
use runtime::RequestContext;
use uuid::Uuid;

pub(crate) const BOUGHT_AT: i64 = 1_700_000_000_123;

pub(crate) fn bought_at() -> Timestamp {
    Timestamp::from_millisecond(BOUGHT_AT).unwrap()
}

pub(crate) fn item(product_id: i64, name: &str, quantity: i64, price: i64) -> PurchasedItem {
    PurchasedItem {
        product_id,
        product_name: name.to_owned(),
        quantity,
        unit_price: Amount(price),
        subtotal: Amount(price * quantity),
    }
}

/// The `n`th purchase: two laptops and a mouse, 2629.97 USD.
pub(crate) fn purchase(n: u128, user: &str) -> CheckoutCompleted {
    CheckoutCompleted {
        checkout_id: Uuid::from_u128(1_000_000 + n),
        order_id: Uuid::from_u128(2_000_000 + n),
        user_id: user.to_owned(),
        items: vec![item(1, "Laptop", 2, 129_999), item(2, "Mouse", 1, 2_999)],
        total_amount: Amount(262_997),
        currency: Currency::USD,
        payment_id: "pay_1".to_owned(),
        cart_version: 3,
        held: true,
        completed_at: bought_at(),
    }
}

pub(crate) fn event(id: u128, purchase: &CheckoutCompleted) -> Event {
    raw_event(id, CheckoutCompleted::KIND, serde_json::to_vec(purchase).unwrap())
}

pub(crate) fn raw_event(id: u128, kind: &str, data: Vec<u8>) -> Event {
    Event {
        id: Uuid::from_u128(id),
        kind: kind.to_owned(),
        name: CheckoutCompleted::NAME.to_owned(),
        source: "/checkout".to_owned(),
        time: bought_at(),
        key: Uuid::from_u128(id).to_string(),
        context: RequestContext {
            request_id: "r".to_owned(),
            traceparent: String::new(),
        },
        data: data.into(),
    }
}
