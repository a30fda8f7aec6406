//! Crash anywhere: the process is aborted at every point that it passes while somebody buys, and started again on the
//! same data.

mod outage;
mod people;
mod points;
mod scenario;
mod scenarios;
mod template;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use system_tests::{
    books,
    home::{Home, Profile},
    process::{ShopProcess, Start},
};

use people::People;
use scenario::{Said, Scenario};

/// Shops at the same time. Most of what each does is to wait: for the disk, or until Kafka takes a crashed member for dead.
const fn width(profile: Profile) -> usize {
    match profile {
        Profile::Embedded => 10,
        Profile::Engines => 14,
    }
}

const PATIENCE: Duration = Duration::from_mins(1);

/// The points that a scenario passes, in a run without a crash.
async fn trace(home: &Home, scenario: &dyn Scenario) -> anyhow::Result<BTreeSet<String>> {
    let trace = home.folder().join("points");
    let mut traced = scenario.command(home);
    traced
        .env("CARTWRIGHT_TEST_HOOKS", "abort-this-process")
        .env("CARTWRIGHT_CRASH_TRACE", &trace);
    let shop = ShopProcess::open(traced).await?;
    let people = People::of(&shop, home)?;
    let mut said = Said::new();
    scenario.play(&people, &mut said).await?;
    for question in scenario.questions() {
        let answers = said.iter().filter(|(about, _)| *about == question).count();
        let is_purchase = scenario.endings().iter().any(|(who, _)| *who == question);
        let times = if is_purchase { scenario.times() } else { 1 };
        ensure!(answers == times, "{question}: {said:?}");
    }
    books::settle(home).await?;
    shop.stop().await?;
    verdict::check(home, scenario, &said).await?;
    Ok(std::fs::read_to_string(trace)?.lines().map(str::to_owned).collect())
}

/// Crashes at one point, starts again, and checks that everything ended as it must.
async fn crash(home: &Home, scenario: &dyn Scenario, point: &str) -> anyhow::Result<()> {
    let mut armed = scenario.command(home);
    armed
        .env("CARTWRIGHT_TEST_HOOKS", "abort-this-process")
        .env("CARTWRIGHT_CRASH_AT", point);
    let mut said = Said::new();
    let status = match ShopProcess::start(armed).await? {
        Start::Ended(status, _) => status,
        Start::Open(mut shop) => {
            // What goes wrong here is what a crash looks like from outside. Whether it was one shows at the process.
            let played = scenario.play(&People::of(&shop, home)?, &mut said).await;
            let ended = tokio::time::timeout(PATIENCE, shop.ended()).await;
            ended.with_context(|| format!("the point was not hit: {played:?}"))??
        }
    };
    ensure!(status.code().is_none(), "it was not aborted, but ended with {status}");
    let shop = ShopProcess::open(scenario.command(home)).await?;
    let people = People::of(&shop, home)?;
    scenario.after_crash(&people, &said).await?;
    let again = tokio::time::timeout(PATIENCE, people.play_until_answered(scenario))
        .await
        .context("there is no answer")??;
    books::settle(home).await?;
    verdict::check_cart(scenario, &people.cart().await?)?;
    // All is in the stores by now, and an orderly end would only take longer.
    shop.kill().await?;
    said.extend(again);
    verdict::check(home, scenario, &said).await
}

on_every_profile! { a_purchase_survives_a_crash_at_every_point }

async fn a_purchase_survives_a_crash_at_every_point(profile: Profile) -> anyhow::Result<()> {
    let mut templates = Vec::new();
    let mut by_point: BTreeMap<String, usize> = BTreeMap::new();
    for scenario in scenarios::ALL {
        let prepared = template::prepare(profile, scenario).await;
        let template = prepared.with_context(|| format!("{scenario:?} cannot be prepared"))?;
        let passed = trace(&template.copy().await?, scenario).await;
        let mut passed = passed.with_context(|| format!("{scenario:?} without a crash"))?;
        passed.retain(|point| !scenario.has_seen(point));
        for point in &passed {
            *by_point.entry(point.clone()).or_default() += 1;
        }
        templates.push((template, scenario, passed));
    }
    points::check(profile, &by_point.keys().cloned().collect())?;
    let runs = templates
        .iter()
        .flat_map(|(template, scenario, passed)| passed.iter().map(move |point| (template, *scenario, point)));
    let total: usize = by_point.values().sum();
    let failed: Vec<String> = stream::iter(runs)
        .map(|(template, scenario, point)| async move {
            let home = template.copy().await?;
            let survived = crash(&home, scenario, point).await;
            home.clear().await;
            anyhow::Ok(
                survived
                    .err()
                    .map(|error| format!("{scenario:?} at {point}: {error:#}")),
            )
        })
        .buffer_unordered(width(profile))
        .try_filter_map(async |failure| Ok(failure))
        .try_collect()
        .await?;
    println!(
        "{} points, {total} crashes in {} scenarios",
        by_point.len(),
        scenarios::ALL.len()
    );
    for (point, scenarios) in &by_point {
        println!("  {point} in {scenarios}");
    }
    if !failed.is_empty() {
        bail!("{} of {total} went wrong:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}
