//! Notifications and their texts.

use jiff::Timestamp;
use money::{Amount, Money};
use uuid::Uuid;

pub use proto::ids::{CheckoutId, OrderId, UserId};

/// The id of a notification: that of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationId(pub Uuid);

/// The subject of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    OrderConfirmed,
    CheckoutFailed,
}

/// A message to a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub id: NotificationId,
    pub user_id: UserId,
    pub kind: NotificationKind,
    pub checkout_id: CheckoutId,
    pub text: String,
    /// When the checkout ended.
    pub created_at: Timestamp,
}

impl NotificationKind {
    pub const ALL: [Self; 2] = [Self::OrderConfirmed, Self::CheckoutFailed];

    /// The name in stores and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "ORDER_CONFIRMED",
            Self::CheckoutFailed => "CHECKOUT_FAILED",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The text for a confirmed order. `pieces` is the sum of all quantities.
pub fn order_confirmed(order: OrderId, pieces: i64, total: Money) -> String {
    let items = if pieces == 1 { "item" } else { "items" };
    let (amount, currency) = (Amount(total.minor_units()), total.currency());
    format!(
        "Your order {} is confirmed: {pieces} {items}, {amount} {currency}.",
        order.0
    )
}

/// The text for a checkout that failed for the reason in `message`.
pub fn checkout_failed(checkout: CheckoutId, message: &str) -> String {
    format!("Your checkout {} did not go through: {message}", checkout.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_are_whole_sentences() {
        let order = OrderId(Uuid::from_u128(1));
        assert_eq!(
            order_confirmed(order, 3, Money::usd(259_998)),
            "Your order 00000000-0000-0000-0000-000000000001 is confirmed: 3 items, 2599.98 USD."
        );
        assert!(order_confirmed(order, 1, Money::usd(5)).ends_with("1 item, 0.05 USD."));
        assert_eq!(
            checkout_failed(CheckoutId(Uuid::from_u128(2)), "the card was declined"),
            "Your checkout 00000000-0000-0000-0000-000000000002 did not go through: the card was declined"
        );
    }

    #[test]
    fn each_kind_is_parsed_from_its_name() {
        for kind in NotificationKind::ALL {
            assert_eq!(NotificationKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(NotificationKind::parse("OTHER"), None);
    }
}
