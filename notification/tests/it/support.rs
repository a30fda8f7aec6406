//! Finished checkouts and their events.

use events::Event;
use jiff::Timestamp;
use money::{Amount, Currency};
use proto::events::{CheckoutCompleted, CheckoutFailed, PurchasedItem};
use runtime::RequestContext;
use uuid::Uuid;

pub(crate) const ENDED_AT: i64 = 1_700_000_000_123;

pub(crate) fn ended_at() -> Timestamp {
    Timestamp::from_millisecond(ENDED_AT).unwrap()
}

/// The `n`th purchase: two laptops and a mouse, 2629.97 USD.
pub(crate) fn purchase(n: u128, user: &str) -> CheckoutCompleted {
    let item = |product_id, quantity, price| PurchasedItem {
        product_id,
        product_name: "thing".to_owned(),
        quantity,
        unit_price: Amount(price),
        subtotal: Amount(price * quantity),
    };
    CheckoutCompleted {
        checkout_id: Uuid::from_u128(1_000_000 + n),
        order_id: Uuid::from_u128(2_000_000 + n),
        user_id: user.to_owned(),
        items: vec![item(1, 2, 129_999), item(2, 1, 2_999)],
        total_amount: Amount(262_997),
        currency: Currency::USD,
        payment_id: "pay_1".to_owned(),
        cart_version: 3,
        held: true,
        completed_at: ended_at(),
    }
}

/// The `n`th purchase that was refused.
pub(crate) fn refusal(n: u128, user: &str) -> CheckoutFailed {
    CheckoutFailed {
        checkout_id: Uuid::from_u128(1_000_000 + n),
        user_id: user.to_owned(),
        reason: "CARD_DECLINED".to_owned(),
        message: "the card was declined".to_owned(),
        failed_at: ended_at(),
    }
}

pub(crate) fn completed(id: u128, purchase: &CheckoutCompleted) -> Event {
    raw(id, CheckoutCompleted::KIND, serde_json::to_vec(purchase).unwrap())
}

pub(crate) fn failed(id: u128, refusal: &CheckoutFailed) -> Event {
    raw(id, CheckoutFailed::KIND, serde_json::to_vec(refusal).unwrap())
}

pub(crate) fn raw(id: u128, kind: &str, data: Vec<u8>) -> Event {
    Event {
        id: Uuid::from_u128(id),
        kind: kind.to_owned(),
        name: String::new(),
        source: "/checkout".to_owned(),
        time: ended_at(),
        key: Uuid::from_u128(id).to_string(),
        context: RequestContext {
            request_id: "r".to_owned(),
            traceparent: String::new(),
        },
        data: data.into(),
    }
}
