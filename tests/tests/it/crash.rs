//! Aborts the process at every point that it passes in a scenario, and starts it again on the same data.

mod customers;
mod outage;
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
    process::{ShopProcess, StartResult},
};

use customers::Customers;
use scenario::{Responses, Scenario};

/// Concurrent shops. Each mostly waits: for the disk, or until Kafka expels a crashed member.
const fn concurrency(profile: Profile) -> usize {
    match profile {
        Profile::Embedded => 10,
        Profile::Engines => 14,
    }
}

const TIMEOUT: Duration = Duration::from_mins(1);

/// The points that a scenario passes, in a run without a crash.
async fn trace(home: &Home, scenario: &dyn Scenario) -> anyhow::Result<BTreeSet<String>> {
    let trace = home.folder().join("points");
    let mut traced = scenario.command(home);
    traced
        .env("CARTWRIGHT_TEST_HOOKS", "abort-this-process")
        .env("CARTWRIGHT_CRASH_TRACE", &trace);
    let shop = ShopProcess::open(traced).await?;
    let customers = Customers::of(&shop, home)?;
    let mut responses = Responses::new();
    scenario.run(&customers, &mut responses).await?;
    for request in scenario.requests() {
        let answers = responses.iter().filter(|(name, _)| *name == request).count();
        let is_purchase = scenario.purchases().iter().any(|(who, _)| *who == request);
        let times = if is_purchase { scenario.times() } else { 1 };
        ensure!(answers == times, "{request}: {responses:?}");
    }
    books::wait_until_idle(home).await?;
    shop.stop().await?;
    verdict::check(home, scenario, &responses).await?;
    Ok(std::fs::read_to_string(trace)?.lines().map(str::to_owned).collect())
}

/// Crashes at one point, starts again, and checks that everything ended as it must.
async fn crash(home: &Home, scenario: &dyn Scenario, point: &str) -> anyhow::Result<()> {
    let mut armed = scenario.command(home);
    armed
        .env("CARTWRIGHT_TEST_HOOKS", "abort-this-process")
        .env("CARTWRIGHT_CRASH_AT", point);
    let mut responses = Responses::new();
    let status = match ShopProcess::start(armed).await? {
        StartResult::Exited(status, _) => status,
        StartResult::Open(mut shop) => {
            // An error of the scenario is expected: the process crashes. Its exit status shows whether it did.
            let ran = scenario.run(&Customers::of(&shop, home)?, &mut responses).await;
            let ended = tokio::time::timeout(TIMEOUT, shop.wait()).await;
            ended.with_context(|| format!("the point was not hit: {ran:?}"))??
        }
    };
    ensure!(
        status.code().is_none(),
        "the process was not aborted, but ended with {status}"
    );
    let shop = ShopProcess::open(scenario.command(home)).await?;
    let customers = Customers::of(&shop, home)?;
    scenario.after_crash(&customers, &responses).await?;
    let again = tokio::time::timeout(TIMEOUT, customers.run_until_answered(scenario))
        .await
        .context("there is no answer")??;
    books::wait_until_idle(home).await?;
    verdict::check_cart(scenario, &customers.cart().await?)?;
    // All data is in the stores; a graceful stop would only take longer.
    shop.kill().await?;
    responses.extend(again);
    verdict::check(home, scenario, &responses).await
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
        passed.retain(|point| !scenario.is_covered_elsewhere(point));
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
        .buffer_unordered(concurrency(profile))
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
