//! Crash anywhere: the process is aborted at every point that it passes while somebody buys, and started again on the
//! same data.

mod people;
mod points;
mod scenario;
mod template;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use system_tests::{
    books,
    process::{ShopProcess, Start, copy},
};

use people::People;
use scenario::Scenario;

/// Shops at the same time. Most of what each does is to wait for the disk.
const WIDTH: usize = 10;
const PATIENCE: Duration = Duration::from_mins(1);

/// Who was told what, in the order in which it came: a question, and an answer to it.
type Said = Vec<(&'static str, Value)>;

/// The points that a scenario passes, in a run without a crash.
async fn trace(folder: &Path, template: &Path, scenario: Scenario) -> anyhow::Result<BTreeSet<String>> {
    let data = copy(template, &folder.join(format!("trace-{scenario:?}")))?;
    let trace = folder.join(format!("{scenario:?}.points"));
    let mut traced = scenario.command(&data);
    traced.env("CARTWRIGHT_CRASH_TRACE", &trace);
    let shop = ShopProcess::open(traced).await?;
    let people = People::of(&shop, &data)?;
    let mut said = Said::new();
    people.play(scenario, &mut said).await?;
    for question in scenario.questions() {
        let answers = said.iter().filter(|(about, _)| *about == question).count();
        ensure!(answers == scenario.times(question), "{question}: {said:?}");
    }
    books::settle(&data).await?;
    shop.stop().await?;
    verdict::check(&data, scenario, &said).await?;
    Ok(std::fs::read_to_string(trace)?.lines().map(str::to_owned).collect())
}

/// Crashes at one point, starts again, and checks that everything ended as it must.
async fn crash(folder: &Path, template: &Path, scenario: Scenario, point: &str) -> anyhow::Result<()> {
    let data = copy(
        template,
        &folder.join(format!("{scenario:?}-{}", point.replace([':', '/'], "-"))),
    )?;
    let mut armed = scenario.command(&data);
    armed.env("CARTWRIGHT_CRASH_AT", point);
    let mut said = Said::new();
    let status = match ShopProcess::start(armed).await? {
        Start::Ended(status, _) => status,
        Start::Open(mut shop) => {
            // What goes wrong here is what a crash looks like from outside. Whether it was one shows at the process.
            let played = People::of(&shop, &data)?.play(scenario, &mut said).await;
            let ended = tokio::time::timeout(PATIENCE, shop.ended()).await;
            ended.with_context(|| format!("the point was not hit: {played:?}"))??
        }
    };
    ensure!(status.code().is_none(), "it was not aborted, but ended with {status}");
    let shop = ShopProcess::open(scenario.command(&data)).await?;
    let people = People::of(&shop, &data)?;
    if scenario == Scenario::Browsing {
        verdict::check_changes(&said, &people.cart().await?)?;
    }
    let again = tokio::time::timeout(PATIENCE, people.play_until_answered(scenario))
        .await
        .context("there is no answer")??;
    books::settle(&data).await?;
    verdict::check_cart(scenario, &people.cart().await?)?;
    // All is on disk by now, and an orderly end would only take longer.
    shop.kill().await?;
    said.extend(again);
    verdict::check(&data, scenario, &said).await?;
    std::fs::remove_dir_all(data)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_survives_a_crash_at_every_point() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut runs = Vec::new();
    let mut by_point: BTreeMap<String, usize> = BTreeMap::new();
    for scenario in Scenario::ALL {
        let prepared = template::prepare(folder, scenario).await;
        let template = Arc::new(prepared.with_context(|| format!("{scenario:?} cannot be prepared"))?);
        let passed = trace(folder, &template, scenario).await;
        let mut passed = passed.with_context(|| format!("{scenario:?} without a crash"))?;
        passed.retain(|point| !scenario.has_seen(point));
        for point in passed {
            *by_point.entry(point.clone()).or_default() += 1;
            runs.push((template.clone(), scenario, point));
        }
    }
    points::check(&by_point.keys().cloned().collect())?;
    let total = runs.len();
    let failed: Vec<String> = stream::iter(runs)
        .map(|(template, scenario, point)| async move {
            match crash(folder, &template, scenario, &point).await {
                Ok(()) => anyhow::Ok(None),
                Err(error) => Ok(Some(format!("{scenario:?} at {point}: {error:#}"))),
            }
        })
        .buffer_unordered(WIDTH)
        .try_filter_map(async |failure| Ok(failure))
        .try_collect()
        .await?;
    println!(
        "{} points, {total} crashes in {} scenarios",
        by_point.len(),
        Scenario::ALL.len()
    );
    for (point, scenarios) in &by_point {
        println!("  {point} in {scenarios}");
    }
    if !failed.is_empty() {
        bail!("{} of {total} went wrong:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}
