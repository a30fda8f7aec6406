//! Orders, their lines and the rules for their sums.

use jiff::Timestamp;
use money::{Money, MoneyError, Quantity};

pub use proto::ids::{CheckoutId, OrderId, ProductId, UserId};

/// One product of an order, at the price at the time of purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    product_id: ProductId,
    product_name: String,
    quantity: Quantity,
    price: Money,
    subtotal: Money,
}

/// A completed purchase. All orders are confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    id: OrderId,
    checkout_id: CheckoutId,
    user_id: UserId,
    lines: Vec<Line>,
    total: Money,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// The ids of an order, of its checkout and of its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderIds {
    pub id: OrderId,
    pub checkout_id: CheckoutId,
    pub user_id: UserId,
}

/// Why a line is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    #[error("its price is negative")]
    NegativePrice,
    #[error("its subtotal is not price times quantity: {0}")]
    Subtotal(MoneyError),
    #[error("its subtotal is {found} and not {expected}, which price times quantity is")]
    WrongSubtotal { found: i64, expected: i64 },
}

/// Why an order is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    #[error("it has no lines")]
    NoLines,
    #[error("its lines have no sum: {0}")]
    Total(MoneyError),
    #[error("its total is {found} and not {expected}, which the sum of its lines is")]
    WrongTotal { found: i64, expected: i64 },
}

impl Line {
    /// Requires a subtotal of price times quantity.
    pub fn new(
        product_id: ProductId,
        product_name: String,
        quantity: Quantity,
        price: Money,
        subtotal: Money,
    ) -> Result<Self, InvalidLine> {
        if price.minor_units() < 0 {
            return Err(InvalidLine::NegativePrice);
        }
        let expected = price.times(quantity).map_err(InvalidLine::Subtotal)?;
        if subtotal.currency() != price.currency() {
            return Err(InvalidLine::Subtotal(MoneyError::CurrencyMismatch(
                price.currency(),
                subtotal.currency(),
            )));
        }
        if subtotal != expected {
            let (found, expected) = (subtotal.minor_units(), expected.minor_units());
            return Err(InvalidLine::WrongSubtotal { found, expected });
        }
        Ok(Self {
            product_id,
            product_name,
            quantity,
            price,
            subtotal,
        })
    }

    pub const fn product_id(&self) -> ProductId {
        self.product_id
    }

    pub fn product_name(&self) -> &str {
        &self.product_name
    }

    pub const fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// The price of one piece.
    pub const fn price(&self) -> Money {
        self.price
    }

    pub const fn subtotal(&self) -> Money {
        self.subtotal
    }
}

impl Order {
    /// Requires at least one line, and a total that is the sum of the lines.
    pub fn new(ids: OrderIds, lines: Vec<Line>, total: Money, created_at: Timestamp) -> Result<Self, InvalidOrder> {
        if lines.is_empty() {
            return Err(InvalidOrder::NoLines);
        }
        let expected = Money::sum(total.currency(), lines.iter().map(Line::subtotal)).map_err(InvalidOrder::Total)?;
        if total != expected {
            let (found, expected) = (total.minor_units(), expected.minor_units());
            return Err(InvalidOrder::WrongTotal { found, expected });
        }
        let OrderIds {
            id,
            checkout_id,
            user_id,
        } = ids;
        Ok(Self {
            id,
            checkout_id,
            user_id,
            lines,
            total,
            created_at,
            updated_at: created_at,
        })
    }

    #[must_use]
    pub const fn with_updated_at(mut self, updated_at: Timestamp) -> Self {
        self.updated_at = updated_at;
        self
    }

    pub const fn id(&self) -> OrderId {
        self.id
    }

    pub const fn checkout_id(&self) -> CheckoutId {
        self.checkout_id
    }

    pub const fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// In the order in which the customer saw them.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub const fn total(&self) -> Money {
        self.total
    }

    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub const fn updated_at(&self) -> Timestamp {
        self.updated_at
    }
}

#[cfg(test)]
mod tests {
    use money::Currency;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn line(quantity: i64, price: i64, subtotal: i64) -> Result<Line, InvalidLine> {
        let quantity = Quantity::new(quantity).unwrap();
        Line::new(
            ProductId::new(1).unwrap(),
            "Laptop".to_owned(),
            quantity,
            Money::usd(price),
            Money::usd(subtotal),
        )
    }

    fn order(lines: Vec<Line>, total: Money) -> Result<Order, InvalidOrder> {
        let ids = OrderIds {
            id: OrderId(Uuid::from_u128(1)),
            checkout_id: CheckoutId(Uuid::from_u128(2)),
            user_id: UserId::new("u").unwrap(),
        };
        Order::new(ids, lines, total, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_line_with_a_wrong_subtotal_is_invalid() {
        assert_eq!(
            line(2, 100, 201),
            Err(InvalidLine::WrongSubtotal {
                found: 201,
                expected: 200
            })
        );
        assert_eq!(line(2, -100, -200), Err(InvalidLine::NegativePrice));
        assert_eq!(line(2, i64::MAX, -2), Err(InvalidLine::Subtotal(MoneyError::Overflow)));
        assert!(line(3, 0, 0).is_ok(), "a free product can be bought");
        let euro: Currency = "EUR".parse().unwrap();
        let (one, price) = (Quantity::new(1).unwrap(), Money::usd(5));
        assert!(
            Line::new(
                ProductId::new(1).unwrap(),
                String::new(),
                one,
                price,
                Money::new(5, euro)
            )
            .is_err()
        );
    }

    #[test]
    fn an_order_with_a_wrong_total_is_invalid() {
        let lines = vec![line(1, 100, 100).unwrap(), line(2, 50, 100).unwrap()];
        assert!(order(lines.clone(), Money::usd(200)).is_ok());
        let wrong = InvalidOrder::WrongTotal {
            found: 199,
            expected: 200,
        };
        assert_eq!(order(lines.clone(), Money::usd(199)), Err(wrong));
        assert_eq!(order(Vec::new(), Money::usd(0)), Err(InvalidOrder::NoLines));
        let euro: Currency = "EUR".parse().unwrap();
        assert_eq!(
            order(lines, Money::new(200, euro)),
            Err(InvalidOrder::Total(MoneyError::CurrencyMismatch(euro, Currency::USD)))
        );
        let huge = vec![
            line(1, Money::MAX_MINOR_UNITS, Money::MAX_MINOR_UNITS).unwrap(),
            line(1, 1, 1).unwrap(),
        ];
        assert_eq!(
            order(huge, Money::usd(i64::MIN)),
            Err(InvalidOrder::Total(MoneyError::Overflow))
        );
    }

    proptest! {
        #[test]
        fn only_the_sum_of_the_lines_is_a_valid_total(parts in proptest::collection::vec((1_i64..100, 0_i64..1_000_000), 1..50), off in -5_i64..5) {
            let lines: Vec<_> = parts.iter().map(|(q, p)| line(*q, *p, q * p).unwrap()).collect();
            let sum: i64 = parts.iter().map(|(q, p)| q * p).sum();
            prop_assert_eq!(order(lines, Money::usd(sum + off)).is_ok(), off == 0);
        }
    }
}
