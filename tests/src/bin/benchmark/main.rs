//! Measures a shop, on embedded stores or real engines, through its public interfaces. `docs/benchmarks.md` says how to run
//! it and lists results.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

mod client;
mod compare;
mod hostile;
mod purchases;
mod redis;

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use system_tests::home::Profile;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let binary = std::env::current_exe()?.with_file_name("cartwright");
    ensure!(
        binary.exists(),
        "{} is not there: cargo build --release",
        binary.display()
    );
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (profile, clients) = match arguments.split_first() {
        Some((what, [])) if what == "redis" => return redis::measure(&binary).await,
        Some((what, rest)) if what == "hostile" => {
            let (profile, other) = profile_of(rest);
            return hostile::measure(other.first().map_or(&binary, Path::new), profile).await;
        }
        Some((what, rest)) if what == "compare" => {
            let (profile, other) = profile_of(rest);
            let other = other
                .first()
                .context("`benchmark compare` wants the binary of another build")?;
            return compare::measure(&binary, Path::new(other), profile).await;
        }
        Some(_) | None => profile_of(&arguments),
    };
    let number = |argument: &String| {
        let wants = || {
            format!(
                "'{argument}' is wrong: there is `benchmark [engines] [CLIENTS…]`, `benchmark compare [engines] BINARY`, `benchmark redis`, \
                 and `benchmark hostile [engines] [BINARY]`"
            )
        };
        argument.parse::<usize>().with_context(wants)
    };
    let clients: Result<Vec<_>, _> = clients.iter().map(number).collect();
    purchases::measure(&binary, profile, &clients?).await
}

/// The profile that the arguments name, and the other arguments.
fn profile_of(arguments: &[String]) -> (Profile, &[String]) {
    match arguments.split_first() {
        Some((what, rest)) if what == "engines" => (Profile::Engines, rest),
        Some(_) | None => (Profile::Embedded, arguments),
    }
}

/// A percentile of sorted times, in milliseconds with one decimal.
fn percentile(sorted: &[Duration], percent: usize) -> String {
    let took = sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
    format!("{}.{}", took.as_millis(), took.as_micros() / 100 % 10)
}
