//! What customers are told, and in which words.

use jiff::Timestamp;
use money::{Amount, Money};
use uuid::Uuid;

pub use proto::ids::{CheckoutId, OrderId, UserId};

/// Names a notification: the id of the event that it tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationId(pub Uuid);

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    OrderConfirmed,
    CheckoutFailed,
}

/// Something that a customer was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub id: NotificationId,
    pub user_id: UserId,
    pub kind: Kind,
    pub checkout_id: CheckoutId,
    pub text: String,
    /// When that happened of which it tells.
    pub created_at: Timestamp,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::OrderConfirmed, Self::CheckoutFailed];

    /// Its name in stores and logs.
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

/// The words for an order that was confirmed. `pieces` counts each of several of one product.
pub fn order_confirmed(order: OrderId, pieces: i64, total: Money) -> String {
    let items = if pieces == 1 { "item" } else { "items" };
    let (amount, currency) = (Amount(total.minor_units()), total.currency());
    format!(
        "Your order {} is confirmed: {pieces} {items}, {amount} {currency}.",
        order.0
    )
}

/// The words for a purchase that was refused for the reason in `message`.
pub fn checkout_failed(checkout: CheckoutId, message: &str) -> String {
    format!("Your checkout {} did not go through: {message}", checkout.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_are_told_in_whole_sentences() {
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
    fn kinds_and_their_names_are_one_to_one() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("OTHER"), None);
    }
}
