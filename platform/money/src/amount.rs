//! JSON amounts: a number with exactly two decimals.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Minor units as a decimal number, `2599.98`. No float is involved. Serializes with `serde_json` only, as a raw number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount(pub i64);

/// The text is not a decimal number with at most two decimals, or does not fit into 64 bits of minor units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a decimal number with at most two decimals")]
pub struct ParseAmountError;

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", units / 100, units % 100)
    }
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "00"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(decimals) || decimals.len() > 2 {
            return Err(ParseAmountError);
        }
        let sign = if negative { "-" } else { "" };
        format!("{sign}{whole}{decimals:0<2}")
            .parse()
            .map(Self)
            .map_err(|_| ParseAmountError)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Cow<'de, RawValue>>::deserialize(deserializer)?;
        raw.get().parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_have_two_decimals() {
        let shown: Vec<_> = [259_998, 5, 0, -5, -123, i64::MIN]
            .into_iter()
            .map(|a| Amount(a).to_string())
            .collect();
        assert_eq!(
            shown,
            ["2599.98", "0.05", "0.00", "-0.05", "-1.23", "-92233720368547758.08"]
        );
    }

    #[test]
    fn text_that_is_not_an_amount_is_refused() {
        for wrong in [
            "",
            "-",
            "1.",
            ".5",
            "1.234",
            "1e2",
            "1,00",
            "+1",
            "NaN",
            "\"1.00\"",
            "92233720368547758.08",
        ] {
            assert_eq!(wrong.parse::<Amount>(), Err(ParseAmountError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_json(minor in any::<i64>()) {
            let json = serde_json::to_string(&Amount(minor)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), Amount(minor));
        }
    }
}
