//! Purchases: their values and the rules about them.

mod price;

use jiff::Timestamp;
use money::{Currency, Money, MoneyError, Quantity};
use proto::Reason;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::saga::State;

pub use price::{CartLine, CartView, MAX_LINES, PriceChange, Priced, Refusal, freeze};
pub use proto::ids::{CheckoutId, IdempotencyKey, PaymentMethod, ProductId, UserId};

/// Why a purchase did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What was short, for `OUT_OF_STOCK`.
    #[serde(default)]
    pub shortages: Vec<Shortage>,
}

impl Failure {
    /// Whether the cart refused the hold: the only failure between the reservation and the charge.
    pub const fn is_refused_hold(&self) -> bool {
        matches!(self.reason, Reason::CartChanged)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    pub product_id: i64,
    pub requested: i64,
    pub available: i64,
}

/// A line as it is bought: name and price are frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub product: ProductId,
    pub name: String,
    pub quantity: Quantity,
    pub unit_price: Money,
}

impl Line {
    pub fn subtotal(&self) -> Result<Money, MoneyError> {
        self.unit_price.times(self.quantity)
    }
}

/// What is bought and what it costs; at least one line, all of one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    pub lines: Vec<Line>,
    pub total: Money,
    pub cart: CartRef,
}

/// The cart that a purchase was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CartRef {
    /// `None` for a checkout that was begun before carts had holds.
    pub id: Option<Uuid>,
    pub version: i64,
}

impl Purchase {
    /// Adds the lines up.
    pub fn new(lines: Vec<Line>, cart: CartRef) -> Result<Self, MoneyError> {
        let currency = lines.first().map_or(Currency::USD, |line| line.unit_price.currency());
        let subtotals = lines.iter().map(Line::subtotal).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            total: Money::sum(currency, subtotals)?,
            lines,
            cart,
        })
    }
}

/// What a customer asked for under a key. The same key with anything else is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub user: UserId,
    pub key: IdempotencyKey,
    pub method: PaymentMethod,
    /// Buy at the current prices even where they differ from those in the cart.
    pub accept_price_changes: bool,
    /// What the customer was shown.
    pub expected_total: Option<ExpectedTotal>,
    /// The version of the cart that the customer was shown.
    pub cart_version: Option<i64>,
}

/// The total that a customer agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedTotal {
    pub minor_units: i64,
    /// `None` is the currency of the cart.
    pub currency: Option<Currency>,
}

impl ExpectedTotal {
    pub fn is(self, total: Money) -> bool {
        self.minor_units == total.minor_units() && self.currency.is_none_or(|currency| currency == total.currency())
    }
}

impl Request {
    /// What must be the same when the key is used again. The version of the cart need not: it is another one after a
    /// purchase began.
    pub fn fingerprint(&self) -> String {
        let agreed = format!("{}:{}", self.method.as_str(), self.accept_price_changes);
        match self.expected_total {
            Some(ExpectedTotal { minor_units, currency }) => {
                let currency = currency
                    .map(|currency| currency.as_str().to_owned())
                    .unwrap_or_default();
                format!("{agreed}:{minor_units}{currency}")
            }
            None => agreed,
        }
    }
}

/// A purchase and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    pub id: CheckoutId,
    pub user: UserId,
    pub fingerprint: String,
    pub method: PaymentMethod,
    pub purchase: Purchase,
    pub state: State,
    /// Whether its pieces of the cart were held. Those of a checkout that was past that step before carts had holds were not.
    pub held: bool,
    /// Set from the charge on.
    pub payment_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Calls without a known outcome since the last step.
    pub attempts: u32,
    pub needs_attention: bool,
    /// Rises by one with every entry of the history.
    pub version: i64,
}

/// What customers see of a saga's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Initiated,
    InventoryReserved,
    PaymentPending,
    PaymentCompleted,
    Completed,
    Failed,
}

impl Status {
    /// Compensation shows as FAILED only once it is done; until then as the last step forward.
    pub const fn of(state: &State, charged: bool) -> Self {
        match state {
            State::Initiated => Self::Initiated,
            State::InventoryReserved | State::CartHeld => Self::InventoryReserved,
            State::Releasing(failure) if failure.is_refused_hold() => Self::InventoryReserved,
            State::PaymentPending => Self::PaymentPending,
            State::Releasing(_) | State::GivingBack(_) if !charged => Self::PaymentPending,
            State::PaymentCompleted | State::Releasing(_) | State::GivingBack(_) | State::Refunding(_) => {
                Self::PaymentCompleted
            }
            State::Completed => Self::Completed,
            State::Failed(_) => Self::Failed,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Initiated => "INITIATED",
            Self::InventoryReserved => "INVENTORY_RESERVED",
            Self::PaymentPending => "PAYMENT_PENDING",
            Self::PaymentCompleted => "PAYMENT_COMPLETED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    /// The status of a history entry; `None` for the states that customers do not see.
    pub fn of_entry(state: &str) -> Option<Self> {
        let all = [
            Self::Initiated,
            Self::InventoryReserved,
            Self::PaymentPending,
            Self::PaymentCompleted,
            Self::Completed,
            Self::Failed,
        ];
        all.into_iter().find(|status| status.name() == state)
    }
}

impl Checkout {
    pub const fn status(&self) -> Status {
        Status::of(&self.state, self.payment_id.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_what_its_customer_agreed_to() {
        let request = Request {
            user: UserId::new("u").unwrap(),
            key: IdempotencyKey::new("k").unwrap(),
            method: PaymentMethod::new("pm_card_ok").unwrap(),
            accept_price_changes: false,
            expected_total: None,
            cart_version: None,
        };
        assert_eq!(
            request.fingerprint(),
            "pm_card_ok:false",
            "as stored before there was a total"
        );
        let total = |minor_units| {
            Some(ExpectedTotal {
                minor_units,
                currency: None,
            })
        };
        let agreed = |expected_total, cart_version| {
            let request = Request {
                expected_total,
                cart_version,
                ..request.clone()
            };
            request.fingerprint()
        };
        assert_ne!(agreed(None, None), agreed(total(100), None));
        assert_ne!(agreed(total(100), None), agreed(total(101), None));
        let dollars = total(100).map(|total| ExpectedTotal {
            currency: Some(Currency::USD),
            ..total
        });
        assert_ne!(agreed(total(100), None), agreed(dollars, None));
        assert_eq!(agreed(total(100), Some(1)), agreed(total(100), Some(2)));
    }

    #[test]
    fn a_customer_never_sees_compensation_at_work() {
        let because = |reason| Failure {
            reason,
            message: String::new(),
            shortages: Vec::new(),
        };
        let failure = || because(Reason::CardDeclined);
        assert_eq!(Status::of(&State::Releasing(failure()), false), Status::PaymentPending);
        assert_eq!(Status::of(&State::Refunding(failure()), true), Status::PaymentCompleted);
        assert_eq!(Status::of(&State::Releasing(failure()), true), Status::PaymentCompleted);
        assert_eq!(Status::of(&State::GivingBack(failure()), false), Status::PaymentPending);
        assert_eq!(
            Status::of(&State::GivingBack(failure()), true),
            Status::PaymentCompleted
        );
        assert_eq!(Status::of(&State::CartHeld, false), Status::InventoryReserved);
        let not_held = State::Releasing(because(Reason::CartChanged));
        assert_eq!(Status::of(&not_held, false), Status::InventoryReserved);
        for hidden in ["CART_HELD", "GIVING_BACK", "RELEASING", "REFUNDING"] {
            assert_eq!(Status::of_entry(hidden), None);
        }
    }
}
