//! Quantities of pieces.

/// A number of pieces, 1 to [`Quantity::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i32);

/// The number is not between 1 and [`Quantity::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is between 1 and {}", Quantity::MAX)]
pub struct QuantityError;

impl Quantity {
    /// A million pieces: far above any order, and far below what could overflow a sum.
    pub const MAX: i64 = 1_000_000;

    pub fn new(pieces: i64) -> Result<Self, QuantityError> {
        match i32::try_from(pieces) {
            Ok(small) if (1..=Self::MAX).contains(&pieces) => Ok(Self(small)),
            Ok(_) | Err(_) => Err(QuantityError),
        }
    }

    pub fn get(self) -> i64 {
        i64::from(self.0)
    }

    pub fn checked_add(self, other: Self) -> Result<Self, QuantityError> {
        Self::new(self.get() + other.get())
    }
}

/// The type of quantities in messages.
impl From<Quantity> for i32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.get())
    }
}

impl<'de> serde::Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_between_one_and_a_million() {
        for wrong in [0, -1, i64::MIN, Quantity::MAX + 1, i64::MAX] {
            assert_eq!(Quantity::new(wrong), Err(QuantityError), "{wrong}");
        }
        let most = Quantity::new(Quantity::MAX).unwrap();
        assert_eq!(most.checked_add(Quantity::new(1).unwrap()), Err(QuantityError));
        assert_eq!((i64::from(i32::from(most)), most.get()), (Quantity::MAX, Quantity::MAX));
    }
}
