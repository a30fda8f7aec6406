//! Money and quantities as integers with checked arithmetic. Floats are banned here: 0.1 + 0.2 is not 0.3.

mod amount;
mod currency;
mod quantity;

pub use amount::{Amount, ParseAmountError};
pub use currency::{Currency, CurrencyError};
pub use quantity::{Quantity, QuantityError};

/// An amount of one currency, in its minor units (cents for USD). May be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor_units: i64,
    currency: Currency,
}

/// Why an amount could not be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result is beyond [`Money::MAX_MINOR_UNITS`].
    #[error("the amount is too large")]
    Overflow,
    /// Amounts of different currencies cannot be added.
    #[error("amounts of {0} and {1} cannot be added")]
    CurrencyMismatch(Currency, Currency),
}

impl Money {
    /// The largest computed result, and the largest amount accepted from outside: 999,999,999,999.99. The sum of ninety
    /// thousand such amounts, as books compute it in SQL, still fits into 64 bits.
    pub const MAX_MINOR_UNITS: i64 = 99_999_999_999_999;

    pub const fn new(minor_units: i64, currency: Currency) -> Self {
        Self { minor_units, currency }
    }

    pub const fn usd(minor_units: i64) -> Self {
        Self::new(minor_units, Currency::USD)
    }

    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    pub const fn is_positive(self) -> bool {
        self.minor_units > 0
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        self.bounded(self.minor_units.checked_add(other.minor_units))
    }

    /// The price of `quantity` pieces, when one piece costs this amount.
    pub fn times(self, quantity: Quantity) -> Result<Self, MoneyError> {
        self.bounded(self.minor_units.checked_mul(quantity.get()))
    }

    /// `minor_units` in this currency, if the arithmetic did not overflow and the result is in bounds.
    fn bounded(self, minor_units: Option<i64>) -> Result<Self, MoneyError> {
        let result = minor_units.map(|minor_units| Self::new(minor_units, self.currency));
        result
            .filter(|result| result.is_in_bounds())
            .ok_or(MoneyError::Overflow)
    }

    /// Whether the absolute value is at most [`Self::MAX_MINOR_UNITS`].
    pub const fn is_in_bounds(self) -> bool {
        self.minor_units.unsigned_abs() <= Self::MAX_MINOR_UNITS.unsigned_abs()
    }

    /// The sum of `amounts`. The sum of no amounts is zero.
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_of_two_currencies_are_refused() {
        let euro: Currency = "EUR".parse().unwrap();
        assert_eq!(
            Money::usd(1).checked_add(Money::new(1, euro)),
            Err(MoneyError::CurrencyMismatch(Currency::USD, euro))
        );
    }

    #[test]
    fn overflow_is_an_error_and_never_wraps() {
        let two = Quantity::new(2).unwrap();
        assert_eq!(
            Money::usd(i64::MAX).checked_add(Money::usd(1)),
            Err(MoneyError::Overflow)
        );
        assert_eq!(Money::usd(i64::MAX / 2 + 1).times(two), Err(MoneyError::Overflow));
        let most = Money::usd(Money::MAX_MINOR_UNITS);
        assert_eq!(most.checked_add(Money::usd(0)), Ok(most));
        assert_eq!(most.checked_add(Money::usd(1)), Err(MoneyError::Overflow));
        assert_eq!(
            Money::usd(-1).checked_add(Money::usd(-Money::MAX_MINOR_UNITS)),
            Err(MoneyError::Overflow)
        );
    }

    proptest! {
        #[test]
        fn times_is_repeated_addition(price in -1_000_000_i64..1_000_000, pieces in 1_i64..100) {
            let times = Money::usd(price).times(Quantity::new(pieces).unwrap()).unwrap();
            let pieces = usize::try_from(pieces).unwrap();
            let sum = Money::sum(Currency::USD, std::iter::repeat_n(Money::usd(price), pieces)).unwrap();
            prop_assert_eq!(times, sum);
        }
    }
}
