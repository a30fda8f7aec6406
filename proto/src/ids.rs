//! The ids that services share, each with its rule. A value of one of these types has been checked.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The largest id of a product that a request may name: the largest integer that every reader of JSON takes for itself
/// (RFC 8259, section 6). Stores of earlier versions may hold larger ones.
pub const MAX_PRODUCT_ID: i64 = (1 << 53) - 1;

/// What the owner of an erased purchase begins with; the id of its checkout follows. No request may name such a user.
pub const ERASED_USER: &str = "erased:";

/// A checkout. Participants, orders and events name a purchase by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckoutId(pub Uuid);

impl CheckoutId {
    /// The id of the order that this checkout leads to: UUIDv5 of the checkout's id, so that it is known beforehand.
    pub fn order_id(self) -> OrderId {
        OrderId(Uuid::new_v5(&Uuid::NAMESPACE_OID, self.0.as_bytes()))
    }
}

impl fmt::Display for CheckoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An order. Its id is known before the order exists ([`CheckoutId::order_id`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderId(pub Uuid);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A product of the catalogue: 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct ProductId(i64);

impl ProductId {
    pub const fn new(id: i64) -> Option<Self> {
        if id > 0 { Some(Self(id)) } else { None }
    }

    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for ProductId {
    type Error = String;

    fn try_from(id: i64) -> Result<Self, String> {
        Self::new(id).ok_or_else(|| format!("{id} is not the id of a product"))
    }
}

impl From<ProductId> for i64 {
    fn from(id: ProductId) -> Self {
        id.0
    }
}

/// A text that is an id or a name: checked when it is made, opaque from then on.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, up to $max:literal, $rule:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// What a text must be, to complete "… must be".
            pub const RULE: &str = $rule;

            /// `None` for a text that breaks the rule.
            pub fn new(text: impl Into<String>) -> Option<Self> {
                let text = text.into();
                let is_short = !text.is_empty() && text.chars().nth($max).is_none();
                (is_short && text.chars().all($fits)).then_some(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }
    };
}

text! {
    /// A customer, named by whoever signs the shop's tokens.
    UserId, up to 128, "1 to 128 characters without control characters", |c| !c.is_control()
}

text! {
    /// A caller's name for what it asks, so that it happens once however often it is asked.
    IdempotencyKey, up to 255, "1 to 255 printable characters", |c| !c.is_control()
}

text! {
    /// A means of payment, as its provider names it.
    PaymentMethod, up to 64, "1 to 64 characters of a-z, 0-9 and _", |c| matches!(c, 'a'..='z' | '0'..='9' | '_')
}

impl UserId {
    /// A customer's id from a store, where it was checked before it came in.
    pub fn stored(id: String) -> Self {
        Self(id)
    }

    /// Whose the purchase of this checkout is once its customer has been erased.
    pub fn erased(checkout: CheckoutId) -> Self {
        Self(format!("{ERASED_USER}{checkout}"))
    }
}

impl From<CheckoutId> for IdempotencyKey {
    fn from(checkout: CheckoutId) -> Self {
        Self(checkout.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_follows_from_its_checkout_id() {
        let id = CheckoutId(Uuid::from_u128(7)).order_id();
        assert_eq!(id, CheckoutId(Uuid::from_u128(7)).order_id());
        assert_ne!(id, CheckoutId(Uuid::from_u128(8)).order_id());
        assert_eq!(id.0.get_version_num(), 5);
    }

    #[test]
    fn texts_are_bounded_in_characters_and_have_no_control_characters() {
        assert!(UserId::new("ü".repeat(128)).is_some());
        assert!(IdempotencyKey::new("ü".repeat(255)).is_some());
        for wrong in ["", "a\nb", "\u{7f}", &"k".repeat(256)] {
            assert_eq!(UserId::new(wrong), None, "{wrong:?}");
            assert_eq!(IdempotencyKey::new(wrong), None, "{wrong:?}");
        }
        assert_eq!(UserId::new("u".repeat(129)), None);
    }

    #[test]
    fn a_payment_method_is_a_short_plain_name() {
        for fine in ["pm_card_ok", "x", "0", "_", &"x".repeat(64)] {
            assert_eq!(PaymentMethod::new(fine).unwrap().as_str(), fine);
        }
        for wrong in [
            "",
            "PM_CARD",
            "pm card",
            "pm-card",
            "pm\n",
            "pm\0",
            "ü",
            &"x".repeat(65),
        ] {
            assert_eq!(PaymentMethod::new(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_product_id_is_positive_in_json_as_well() {
        assert_eq!(serde_json::from_str::<ProductId>("7").unwrap().get(), 7);
        assert!(serde_json::from_str::<ProductId>("0").is_err());
        assert_eq!(serde_json::to_string(&ProductId::new(7)).unwrap(), "7");
    }

    #[test]
    fn the_owner_of_an_erased_purchase_is_named_after_its_checkout() {
        let nobody = UserId::erased(CheckoutId(Uuid::from_u128(7)));
        assert_eq!(UserId::new(nobody.as_str()), Some(nobody));
    }
}
