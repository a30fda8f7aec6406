//! The settings of the service.

use std::{fmt, str::FromStr, time::Duration};

pub use storage::Database as Store;

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    pub provider: Provider,
    /// The deadline of a call to the provider. After it the outcome is unknown.
    pub provider_timeout: Duration,
}

/// The payment provider.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Moves no money.
    Simulated(Simulation),
}

/// The settings of the simulated provider.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The provider's own database, separate from the payments as an outside company's would be.
    pub ledger: Store,
    pub success_rate: SuccessRate,
    /// New work takes between `min_latency` and `max_latency`; repeated answers come at once.
    pub min_latency: Duration,
    pub max_latency: Duration,
}

/// The share of charges to a good card that succeed: from 0 to 1, in steps of a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuccessRate {
    per_million: u32,
}

const MILLION: u32 = 1_000_000;

impl SuccessRate {
    pub const ALWAYS: Self = Self { per_million: MILLION };

    /// Whether a charge succeeds. `random_below` returns a uniform random number below its argument.
    pub fn succeeds(self, random_below: impl FnOnce(u32) -> u32) -> bool {
        self.per_million == MILLION || random_below(MILLION) < self.per_million
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self::ALWAYS
    }
}

impl FromStr for SuccessRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_millionths(text)
            .filter(|per_million| *per_million <= MILLION)
            .map(|per_million| Self { per_million })
            .ok_or_else(|| format!("'{text}' is not a rate: write a number from 0 to 1 like 0.95"))
    }
}

fn parse_millionths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| (1..=6).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return None;
    }
    let whole = whole.parse::<u32>().ok()?.checked_mul(MILLION)?;
    whole.checked_add(format!("{decimals:0<6}").parse().ok()?)
}

impl fmt::Display for SuccessRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:06}", self.per_million % MILLION);
        let shown = decimals.trim_end_matches('0');
        write!(
            f,
            "{}.{}",
            self.per_million / MILLION,
            if shown.is_empty() { "0" } else { shown }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_from_0_to_1_are_parsed() {
        let shown = |text: &str| text.parse::<SuccessRate>().map(|rate| rate.to_string());
        for (text, rate) in [
            ("1.0", "1.0"),
            ("1", "1.0"),
            ("0", "0.0"),
            ("0.95", "0.95"),
            ("0.000001", "0.000001"),
            ("0.50", "0.5"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(rate), "{text}");
        }
        for wrong in [
            "",
            "1.1",
            "1.000001",
            "-0.5",
            "+1",
            "95%",
            "0.",
            ".5",
            "0.0000001",
            "1e-1",
            "NaN",
            "4295",
            "0,5",
        ] {
            assert!(shown(wrong).unwrap_err().contains("0.95"), "{wrong}");
        }
    }

    #[test]
    fn rate_0_never_succeeds_and_rate_1_always() {
        let (never, always): (SuccessRate, _) = ("0".parse().unwrap(), SuccessRate::ALWAYS);
        assert!(!never.succeeds(|_| 0));
        assert!(always.succeeds(|below| below - 1));
        let half: SuccessRate = "0.5".parse().unwrap();
        assert!(half.succeeds(|_| 499_999) && !half.succeeds(|_| 500_000));
    }

    proptest! {
        #[test]
        fn a_displayed_rate_parses_to_itself(per_million in 0..=MILLION) {
            let rate = SuccessRate { per_million };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
