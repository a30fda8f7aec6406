//! Crash anywhere: the process is aborted at every point that a purchase passes, and started again on the same data.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use http::StatusCode;
use serde_json::{Value, json};
use system_tests::{
    books,
    process::{ShopProcess, Start, command, copy},
};

const BINARY: &str = env!("CARGO_BIN_EXE_shop");
/// Shops at the same time.
const WIDTH: usize = 6;
const PATIENCE: Duration = Duration::from_mins(1);
const KEY: &str = "the one key";

/// What a customer tries while the process crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scenario {
    Success,
    OutOfStock,
    Declined,
    ReplyLost,
    Duplicate,
    ProviderDown,
}

impl Scenario {
    const ALL: [Self; 6] = [
        Self::Success,
        Self::OutOfStock,
        Self::Declined,
        Self::ReplyLost,
        Self::Duplicate,
        Self::ProviderDown,
    ];

    const fn method(self) -> &'static str {
        match self {
            Self::Success | Self::OutOfStock | Self::Duplicate => "pm_card_ok",
            Self::Declined => "pm_card_declined",
            Self::ReplyLost => "pm_card_charged_reply_lost",
            Self::ProviderDown => "pm_card_unavailable",
        }
    }

    /// The reason of the failure that must come of it; `None`: it must complete.
    const fn failure(self) -> Option<&'static str> {
        match self {
            Self::Success | Self::ReplyLost | Self::Duplicate | Self::ProviderDown => None,
            Self::OutOfStock => Some("OUT_OF_STOCK"),
            Self::Declined => Some("CARD_DECLINED"),
        }
    }

    /// The same request from two connections at once?
    const fn requests(self) -> usize {
        match self {
            Self::Duplicate => 2,
            Self::Success | Self::OutOfStock | Self::Declined | Self::ReplyLost | Self::ProviderDown => 1,
        }
    }
}

/// Sends the scenario's requests; the answers that came.
async fn buy(shop: &ShopProcess, scenario: Scenario) -> anyhow::Result<Vec<Value>> {
    let customer = shop.customer("alice")?;
    let body = json!({"idempotency_key": KEY, "payment_method": scenario.method()});
    let requests = (0..scenario.requests()).map(|_| customer.post("/api/v1/checkout", &body));
    let replies = join_all(requests).await.into_iter().flatten();
    Ok(replies
        .filter(|reply| reply.status == StatusCode::CREATED)
        .map(|reply| reply.json())
        .collect())
}

/// A closed shop in which alice's cart is filled, and in which there are not enough laptops for it where they are to lack.
async fn prepare(folder: &Path, scenario: Scenario) -> anyhow::Result<PathBuf> {
    let data = folder.join(format!("{scenario:?}"));
    let shop = ShopProcess::open(command(Path::new(BINARY), &data)).await?;
    if scenario == Scenario::OutOfStock {
        let bob = shop.customer("bob")?;
        bob.post("/api/v1/cart/items", &json!({"product_id": 1, "quantity": 99}))
            .await?;
        let bought = bob
            .post("/api/v1/checkout", &json!({"idempotency_key": "first"}))
            .await?
            .json();
        ensure!(bought["status"] == "COMPLETED", "{bought}");
        books::settle(&data).await?;
    }
    let alice = shop.customer("alice")?;
    for product in [1, 2] {
        let added = alice
            .post("/api/v1/cart/items", &json!({"product_id": product, "quantity": 2}))
            .await?;
        ensure!(added.status == StatusCode::CREATED, "{added:?}");
    }
    let (status, said) = shop.stop().await?;
    ensure!(status.success(), "{status}: {said}");
    Ok(data)
}

/// The points that a scenario passes, in a run without a crash.
async fn points(folder: &Path, template: &Path, scenario: Scenario) -> anyhow::Result<BTreeSet<String>> {
    let data = copy(template, &folder.join(format!("trace-{scenario:?}")))?;
    let trace = folder.join(format!("{scenario:?}.points"));
    let mut traced = command(Path::new(BINARY), &data);
    traced.env("CARTWRIGHT_CRASH_TRACE", &trace);
    let shop = ShopProcess::open(traced).await?;
    let answers = buy(&shop, scenario).await?;
    ensure!(answers.len() == scenario.requests(), "{scenario:?}: {answers:?}");
    books::settle(&data).await?;
    shop.stop().await?;
    verify(&data, scenario, &answers).await?;
    Ok(std::fs::read_to_string(trace)?.lines().map(str::to_owned).collect())
}

/// Crashes at one point, starts again, and checks that the purchase ended as it must.
async fn crash(folder: &Path, template: &Path, scenario: Scenario, point: &str) -> anyhow::Result<()> {
    let data = copy(
        template,
        &folder.join(format!("{scenario:?}-{}", point.replace([':', '/'], "-"))),
    )?;
    let mut armed = command(Path::new(BINARY), &data);
    armed.env("CARTWRIGHT_CRASH_AT", point);
    let acknowledged = match ShopProcess::start(armed).await? {
        Start::Ended(..) => Vec::new(),
        Start::Open(mut shop) => {
            let answers = buy(&shop, scenario).await?;
            let status = tokio::time::timeout(PATIENCE, shop.ended())
                .await
                .context("the point was not hit")??;
            ensure!(!status.success(), "it ended in order");
            answers
        }
    };
    let shop = ShopProcess::open(command(Path::new(BINARY), &data)).await?;
    let again = tokio::time::timeout(PATIENCE, buy_again(&shop, scenario))
        .await
        .context("there is no answer")??;
    books::settle(&data).await?;
    let answers: Vec<_> = acknowledged.into_iter().chain(again).collect();
    let cart = shop.customer("alice")?.get("/api/v1/cart").await?.json();
    shop.stop().await?;
    let left = cart["items"].as_array().context("there is no cart")?.len();
    ensure!(
        left == if scenario.failure().is_some() { 2 } else { 0 },
        "the cart is {cart}"
    );
    verify(&data, scenario, &answers).await?;
    std::fs::remove_dir_all(data)?;
    Ok(())
}

/// The same request until it has its answer.
async fn buy_again(shop: &ShopProcess, scenario: Scenario) -> anyhow::Result<Vec<Value>> {
    loop {
        let answers = buy(shop, scenario).await?;
        if !answers.is_empty() {
            return Ok(answers);
        }
    }
}

/// All answers speak of one checkout that ended as it must, and the books agree.
async fn verify(data: &Path, scenario: Scenario, answers: &[Value]) -> anyhow::Result<()> {
    let ids: BTreeSet<_> = answers.iter().map(|answer| answer["checkout_id"].to_string()).collect();
    ensure!(ids.len() == 1, "not one checkout: {answers:?}");
    for answer in answers {
        let reason = answer["failure"]["reason"].as_str();
        let status = if scenario.failure().is_some() {
            "FAILED"
        } else {
            "COMPLETED"
        };
        ensure!(reason == scenario.failure() && answer["status"] == status, "{answer}");
    }
    books::balance(data).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_survives_a_crash_at_every_point() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut runs = Vec::new();
    let mut by_point: BTreeMap<String, usize> = BTreeMap::new();
    for scenario in Scenario::ALL {
        let template = Arc::new(prepare(folder, scenario).await?);
        for point in points(folder, &template, scenario).await? {
            *by_point.entry(point.clone()).or_default() += 1;
            runs.push((template.clone(), scenario, point));
        }
    }
    ensure!(by_point.len() >= 25, "only {} points: {by_point:?}", by_point.len());
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
