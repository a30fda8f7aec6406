//! The settings of the service.

use std::{fmt, str::FromStr, time::Duration};

/// Where the tables are.
pub use storage::Database as Store;

/// What it takes to build the service.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    pub provider: Provider,
    /// How long the provider may take to answer. After that it is not known what it did.
    pub provider_timeout: Duration,
}

/// Who moves the money.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Nobody does.
    Simulated(Simulation),
}

/// The simulated provider.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// Its books, apart from ours as an outside company's would be.
    pub ledger: Store,
    pub success_rate: SuccessRate,
    /// It takes between `min_latency` and `max_latency` to do something it has not done yet.
    pub min_latency: Duration,
    pub max_latency: Duration,
}

/// How many charges of a good card succeed: from 0 to 1, in steps of a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuccessRate {
    per_million: u32,
}

const MILLION: u32 = 1_000_000;

impl SuccessRate {
    /// All of them.
    pub const ALWAYS: Self = Self { per_million: MILLION };

    /// Whether a charge succeeds. `draw` gives a number below its argument, each as likely as any other.
    pub fn succeeds(self, draw: impl FnOnce(u32) -> u32) -> bool {
        self.per_million == MILLION || draw(MILLION) < self.per_million
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
    fn rates_are_read_from_0_to_1() {
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
    fn the_edges_are_never_and_always() {
        let (never, always): (SuccessRate, _) = ("0".parse().unwrap(), SuccessRate::ALWAYS);
        assert!(!never.succeeds(|_| 0));
        assert!(always.succeeds(|below| below - 1));
        let half: SuccessRate = "0.5".parse().unwrap();
        assert!(half.succeeds(|_| 499_999) && !half.succeeds(|_| 500_000));
    }

    proptest! {
        #[test]
        fn a_rate_reads_as_it_is_shown(per_million in 0..=MILLION) {
            let rate = SuccessRate { per_million };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
