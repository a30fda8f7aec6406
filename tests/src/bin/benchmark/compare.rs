//! Compares two builds of the shop round by round: a machine drifts, so only neighbouring runs can be compared.

use std::{path::Path, time::Duration};

use system_tests::home::Profile;

use crate::{
    percentile,
    purchases::{Run, load},
};

const ROUNDS: usize = 5;
const CLIENTS: usize = 16;
/// Per build and round.
const PURCHASES: usize = 3_200;

/// Runs the other build and this build in turn under the same load. Prints each round, the figure of the other build first,
/// and the medians at the end.
pub(crate) async fn measure(this: &Path, other: &Path, profile: Profile) -> anyhow::Result<()> {
    println!(
        "{:<8} {:>22} {:>8} {:>22} {:>8} {:>22} {:>8}",
        "round", "checkouts/s", "ratio", "p50 ms", "ratio", "p99 ms", "ratio"
    );
    let mut ratios: [Vec<f64>; 3] = Default::default();
    for round in 1..=ROUNDS {
        let runs = [
            load(other, profile, CLIENTS, PURCHASES).await?,
            load(this, profile, CLIENTS, PURCHASES).await?,
        ];
        let [other_run, this_run] = &runs;
        let slower = |percent| latency(this_run, percent).div_duration_f64(latency(other_run, percent));
        // Both runs make the same number of purchases, so the ratio of the times is that of the throughputs.
        let rate = other_run.took.div_duration_f64(this_run.took);
        let (middle, slowest) = (slower(50), slower(99));
        let both = |show: fn(&Run) -> String| format!("{}, {}", show(&runs[0]), show(&runs[1]));
        println!(
            "{round:<8} {:>22} {rate:>8.2} {:>22} {middle:>8.2} {:>22} {slowest:>8.2}",
            both(|run| run.per_second().to_string()),
            both(|run| percentile(&run.latencies, 50)),
            both(|run| percentile(&run.latencies, 99)),
        );
        for (of_all, ratio) in ratios.iter_mut().zip([rate, middle, slowest]) {
            of_all.push(ratio);
        }
    }
    let [rate, middle, slowest] = ratios.map(median);
    println!(
        "{:<8} {:>22} {rate:>8.2} {:>22} {middle:>8.2} {:>22} {slowest:>8.2}",
        "median", "", "", ""
    );
    Ok(())
}

/// The latency at a percentile.
fn latency(run: &Run, percent: usize) -> Duration {
    let index = run.latencies.len() * percent / 100;
    run.latencies.get(index).copied().unwrap_or_default()
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}
