//! Purchases: their values and the rules about them.

mod price;

use jiff::Timestamp;
use money::{Currency, Money, MoneyError, Quantity};
use proto::Reason;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::saga::State;

pub use price::{CartLine, CartRefusal, CartView, MAX_LINES, PriceChange, PricedProduct};
pub use proto::ids::{CheckoutId, IdempotencyKey, PaymentMethod, ProductId, UserId};

/// Why a purchase did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// The missing stock, for `OUT_OF_STOCK`.
    #[serde(default)]
    pub shortages: Vec<Shortage>,
}

impl Failure {
    /// Whether the cart refused the hold: the only possible failure between reservation and charge.
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

/// A purchased line, with frozen name and price.
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

/// The frozen lines and their total: at least one line, all in one currency.
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

/// A customer's request to buy the cart. Its key with a different fingerprint is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRequest {
    pub user: UserId,
    pub key: IdempotencyKey,
    pub method: PaymentMethod,
    /// Buy at the current prices, even if they differ from those in the cart.
    pub accept_price_changes: bool,
    pub expected_total: Option<ExpectedTotal>,
    /// The version of the cart that the customer was shown.
    pub cart_version: Option<i64>,
}

/// The total that the customer was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedTotal {
    pub minor_units: i64,
    /// `None`: the currency of the cart.
    pub currency: Option<Currency>,
}

impl ExpectedTotal {
    pub fn matches(self, total: Money) -> bool {
        self.minor_units == total.minor_units() && self.currency.is_none_or(|currency| currency == total.currency())
    }
}

impl CheckoutRequest {
    /// What must be the same when the key is used again. The version of the cart is not part of it: the purchase itself
    /// changes that version.
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
    /// Whether the cart held the pieces. False for sagas of version 1 that were past this step before carts had holds.
    pub held: bool,
    /// Set from the charge on.
    pub payment_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Calls with an unknown outcome since the last step.
    pub attempts: u32,
    pub needs_attention: bool,
    /// The number of history entries.
    pub version: i64,
}

/// What customers see of the state.
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
    /// A compensating saga shows its last forward step until compensation is done, then FAILED.
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

    /// The status of a history entry; `None` if customers do not see its state.
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
    fn the_fingerprint_of_a_key_covers_all_that_the_customer_agreed_to_except_the_cart_version() {
        let request = CheckoutRequest {
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
            let request = CheckoutRequest {
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
    fn a_customer_does_not_see_compensating_states() {
        let failure = |reason| Failure {
            reason,
            message: String::new(),
            shortages: Vec::new(),
        };
        let declined = || failure(Reason::CardDeclined);
        let hold_refused = failure(Reason::CartChanged);
        for (state, charged, shown) in [
            (State::CartHeld, false, Status::InventoryReserved),
            (State::Releasing(hold_refused), false, Status::InventoryReserved),
            (State::Releasing(declined()), false, Status::PaymentPending),
            (State::GivingBack(declined()), false, Status::PaymentPending),
            (State::Releasing(declined()), true, Status::PaymentCompleted),
            (State::GivingBack(declined()), true, Status::PaymentCompleted),
            (State::Refunding(declined()), true, Status::PaymentCompleted),
        ] {
            assert_eq!(Status::of(&state, charged), shown, "{state:?}");
        }
        for hidden in ["CART_HELD", "GIVING_BACK", "RELEASING", "REFUNDING"] {
            assert_eq!(Status::of_entry(hidden), None);
        }
    }
}
