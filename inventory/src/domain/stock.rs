//! Stock and its movements.

use std::collections::BTreeMap;

use money::{Quantity, QuantityError};
use proto::ids::{IdempotencyKey, ProductId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    pub product: ProductId,
    /// Pieces in the warehouse, including reserved pieces.
    pub on_hand: i64,
    /// Pieces reserved by unfinished checkouts.
    pub held: i64,
}

impl Stock {
    pub const fn available(&self) -> i64 {
        self.on_hand - self.held
    }
}

/// The lines of a checkout: a quantity per product, in product order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines(BTreeMap<ProductId, Quantity>);

impl Lines {
    /// Adds up lines of the same product. Checked one by one, each could fit where their sum does not.
    pub fn add_up(lines: impl IntoIterator<Item = (ProductId, Quantity)>) -> Result<Self, QuantityError> {
        let mut sums = BTreeMap::new();
        for (product, quantity) in lines {
            let sum = match sums.get(&product) {
                Some(before) => quantity.checked_add(*before)?,
                None => quantity,
            };
            sums.insert(product, sum);
        }
        Ok(Self(sums))
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProductId, Quantity)> {
        self.0.iter().map(|(product, quantity)| (*product, *quantity))
    }
}

/// The kind of an entry in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    Received,
    Held,
    /// Reserved pieces were sold.
    Sold,
    /// Pieces of an expired reservation were sold.
    SoldAfterExpiry,
    Released,
    Expired,
}

impl Movement {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Held => "HELD",
            Self::Sold => "SOLD",
            Self::SoldAfterExpiry => "SOLD_AFTER_EXPIRY",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The change of `on_hand` and of `held` for one piece.
    pub const fn deltas(self) -> (i64, i64) {
        match self {
            Self::Received => (1, 0),
            Self::Held => (0, 1),
            Self::Sold => (-1, -1),
            Self::SoldAfterExpiry => (-1, 0),
            Self::Released | Self::Expired => (0, -1),
        }
    }
}

/// Goods received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub key: IdempotencyKey,
    pub product: ProductId,
    pub quantity: Quantity,
}

/// The key of a delivery was used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyReused;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(product: i64, quantity: i64) -> (ProductId, Quantity) {
        (ProductId::new(product).unwrap(), Quantity::new(quantity).unwrap())
    }

    #[test]
    fn lines_of_one_product_are_added_up_in_product_order() {
        let lines = Lines::add_up([line(2, 1), line(1, 5), line(2, 3)]).unwrap();
        assert_eq!(lines.iter().collect::<Vec<_>>(), [line(1, 5), line(2, 4)]);
        assert_eq!(lines, Lines::add_up([line(2, 4), line(1, 5)]).unwrap());
    }

    #[test]
    fn lines_whose_sum_overflows_are_refused() {
        assert_eq!(Lines::add_up([line(1, Quantity::MAX), line(1, 1)]), Err(QuantityError));
    }

    #[test]
    fn reserved_stock_is_sold_or_returned() {
        let after_reserve = |movement: Movement| {
            let (first, then) = (Movement::Held.deltas(), movement.deltas());
            (first.0 + then.0, first.1 + then.1)
        };
        assert_eq!(after_reserve(Movement::Sold), (-1, 0));
        assert_eq!(after_reserve(Movement::Released), (0, 0));
        assert_eq!(after_reserve(Movement::Expired), (0, 0));
        assert_eq!(Movement::SoldAfterExpiry.deltas(), (-1, 0));
    }
}
