//! Two builds of the shop in turn, and the ratio round by round: where a machine drifts, only neighbours can be compared.

use std::{path::Path, time::Duration};

use system_tests::home::Profile;

use crate::{
    percentile,
    purchases::{Run, load},
};

const ROUNDS: usize = 5;
const CLIENTS: usize = 16;
/// Of each build in each round.
const PURCHASES: usize = 3_200;

/// Runs the other build and this one in turn under the same load; prints as it goes on (first the other's figure, then this one's), and
/// the medians at the end.
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
        // The same number of purchases: who takes half the time has twice the throughput.
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

/// Of so many of a hundred.
fn latency(run: &Run, percent: usize) -> Duration {
    let index = run.latencies.len() * percent / 100;
    run.latencies.get(index).copied().unwrap_or_default()
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}
