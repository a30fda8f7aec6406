//! Topics, consumer groups, and the data of events on the bus. Consumers ignore unknown fields.

use jiff::Timestamp;
use money::{Amount, Currency};
use runtime::Topic;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The topic of finished checkouts.
pub const CHECKOUTS: Topic = Topic {
    name: "checkout-outbox",
    key: "checkout id",
    partitions: 3,
    groups: &[CART_GROUP, ORDERS_GROUP, NOTIFICATION_GROUP],
};

/// All topics but those of dead letters, which `events::dead_letter_topic` names.
pub const TOPICS: &[Topic] = &[CHECKOUTS];

pub const CART_GROUP: &str = "cart-service-consumer";
pub const ORDERS_GROUP: &str = "orders-service";
pub const NOTIFICATION_GROUP: &str = "notification-service";

/// A checkout completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutCompleted {
    pub checkout_id: Uuid,
    pub order_id: Uuid,
    pub user_id: String,
    pub items: Vec<PurchasedItem>,
    pub total_amount: Amount,
    pub currency: Currency,
    pub payment_id: String,
    /// The version of the cart that the checkout was made from.
    pub cart_version: i64,
    /// Whether the cart holds the pieces for this checkout. Absent in events from before carts had holds: the cart then
    /// takes the pieces from its free lines.
    #[serde(default)]
    pub held: bool,
    pub completed_at: Timestamp,
}

/// One line of a purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchasedItem {
    pub product_id: i64,
    pub product_name: String,
    pub quantity: i64,
    pub unit_price: Amount,
    pub subtotal: Amount,
}

/// A checkout failed: nothing is charged, nothing is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutFailed {
    pub checkout_id: Uuid,
    pub user_id: String,
    /// A [`crate::Reason`] by name.
    pub reason: String,
    pub message: String,
    pub failed_at: Timestamp,
}

impl CheckoutCompleted {
    pub const KIND: &str = "cartwright.checkout.completed.v1";
    pub const NAME: &str = "CheckoutCompleted";
}

impl CheckoutFailed {
    pub const KIND: &str = "cartwright.checkout.failed.v1";
    pub const NAME: &str = "CheckoutFailed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_of_a_later_version_is_ignored() {
        let json = r#"{"checkout_id":"00000000-0000-0000-0000-000000000001","user_id":"u","reason":"CARD_DECLINED",
            "message":"m","failed_at":"2026-01-01T00:00:00Z","later":1}"#;
        assert_eq!(
            serde_json::from_str::<CheckoutFailed>(json).unwrap().reason,
            "CARD_DECLINED"
        );
    }
}
