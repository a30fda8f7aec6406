//! The number of commits of a purchase: each is a sync to disk that a customer may wait for.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, ensure};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shopping::buy_mouse,
};

use crate::BINARY;

/// The commits of a purchase of one line, by the first part of the label. Of the outbox only the mark counts.
const COMMITS: [(&str, usize); 8] = [
    ("cart", 3),
    ("checkout", 3),
    ("inventory", 2),
    ("notification", 1),
    ("orders", 1),
    ("outbox", 1),
    ("payment", 2),
    ("provider", 1),
];

on_every_profile! { a_purchase_makes_the_expected_number_of_commits }

async fn a_purchase_makes_the_expected_number_of_commits(profile: Profile) -> Result<()> {
    let home = Home::new(profile).await?;
    let trace = home.folder().join("points");
    let mut command = home.command(BINARY);
    command
        .env("CARTWRIGHT_TEST_HOOKS", "abort-this-process")
        .env("CARTWRIGHT_CRASH_TRACE", &trace);
    let shop = ShopProcess::open(command).await?;
    // The first purchase also makes commits that happen only once.
    buy(&shop, &home, "first").await?;
    let before = commits(&trace)?;
    buy(&shop, &home, "second").await?;
    let mut made = commits(&trace)?;
    for (label, count) in before {
        made.entry(label).and_modify(|all| *all -= count);
    }
    let mut by_service: BTreeMap<&str, usize> = BTreeMap::new();
    // Not counted: taking the relay's lease, which only traffic after a pause does, and commits of the bus.
    let is_counted = |label: &str| label != "outbox.lease" && !label.starts_with("bus.");
    for (label, count) in made.iter().filter(|(label, count)| **count > 0 && is_counted(label)) {
        let service = label.split_once('.').map_or(label.as_str(), |(service, _)| service);
        *by_service.entry(service).or_default() += count;
    }
    ensure!(by_service.into_iter().eq(COMMITS), "{made:?}");
    shop.stop().await?;
    Ok(())
}

async fn buy(shop: &ShopProcess, home: &Home, key: &str) -> Result<()> {
    buy_mouse(&shop.customer("alice")?, key).await?;
    books::wait_until_idle(home).await
}

/// The number of commits by label.
fn commits(trace: &Path) -> Result<BTreeMap<String, usize>> {
    let mut commits = BTreeMap::new();
    for line in std::fs::read_to_string(trace)?.lines() {
        if let Some(label) = line
            .strip_prefix("commit:")
            .and_then(|rest| rest.strip_suffix(":after"))
        {
            *commits.entry(label.to_owned()).or_default() += 1;
        }
    }
    Ok(commits)
}
