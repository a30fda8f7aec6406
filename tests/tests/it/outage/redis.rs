//! Redis is stopped, hung and emptied: customers do not notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::StatusCode;
use system_tests::{books, engine_set::Action, home::Home, shops::until};
use testing::Engine;
use tokio::time::Instant;

use super::{
    Fixture,
    load::{Load, Operation},
};

/// Purchases in each state of Redis; each purchase reads its cart six times.
const MANY: u64 = 150;
const FLUSHES: u64 = 10;
/// How much the p99 of reads may rise without a cache, on any machine. Usually it hardly rises.
const SLOWER: Duration = Duration::from_millis(500);

/// The p99 of the reads of carts during `events`, and the number of reads.
async fn p99(load: &Load<'_>, events: impl AsyncFnOnce() -> Result<()>) -> Result<(Duration, usize)> {
    let since = Instant::now();
    events().await?;
    let reads = load
        .responses_since(since)
        .into_iter()
        .filter(|response| response.operation == Operation::ReadCart);
    let mut times: Vec<_> = reads.map(|response| response.took).collect();
    times.sort_unstable();
    let place = times.len() * 99 / 100;
    Ok((times.get(place).copied().unwrap_or_default(), times.len()))
}

on_engines! { a_shop_sells_without_redis_and_keeps_no_stale_copy_when_redis_is_back }

async fn a_shop_sells_without_redis_and_keeps_no_stale_copy_when_redis_is_back() -> Result<()> {
    let fixture = Fixture::open().await?;
    let load = Load::on(&fixture.shop);
    let many = async || load.purchases(MANY).await.map(drop);
    let figures = load.during(async {
        many().await?;
        let mut figures = vec![("up", p99(&load, many).await?)];
        fixture.control(Engine::Redis, Action::Stop).await?;
        figures.push(("stopped", p99(&load, many).await?));
        let (status, health) = fixture.health().await?;
        ensure!(
            status == StatusCode::OK && health["dependencies"]["cart-redis"] == "down",
            "without Redis: {status} {health}"
        );
        fixture.control(Engine::Redis, Action::Start).await?;
        fixture.wait_until_ready().await?;
        figures.push(("back", p99(&load, many).await?));
        fixture.control(Engine::Redis, Action::Pause).await?;
        figures.push(("hung", p99(&load, many).await?));
        fixture.control(Engine::Redis, Action::Resume).await?;
        fixture.wait_until_ready().await?;
        let flushed = async || {
            for _ in 0..FLUSHES {
                fixture.home.empty_cache().await?;
                load.purchases(MANY / FLUSHES).await?;
            }
            Ok(())
        };
        figures.push(("emptied again and again", p99(&load, flushed).await?));
        Ok(figures)
    });
    let figures = figures.await?;
    for (redis, (p99, reads)) in &figures {
        println!("Redis {redis}: p99 of {reads} reads of carts {p99:?}");
    }
    println!("{}", load.summary());
    let failed = load.failures();
    ensure!(failed.is_empty(), "requests failed without Redis: {failed:?}");
    let before = figures[0].1.0;
    ensure!(
        figures.iter().all(|(_, (p99, _))| *p99 < before + SLOWER),
        "{figures:?}"
    );
    books::wait_until_idle(&fixture.home).await?;
    until("the cache has no stale copy", async || {
        Ok(stale_copies(&fixture.home).await?.is_empty())
    })
    .await?;
    fixture.check(&load).await?;
    let stale = stale_copies(&fixture.home).await?;
    ensure!(stale.is_empty(), "the cache holds {stale:?}");
    Ok(())
}

/// Copies in the cache that differ from the store: customer, version in the cache, version in the store.
async fn stale_copies(home: &Home) -> Result<Vec<(String, i64, Option<i64>)>> {
    let carts: Vec<(String, i64)> = home.rows("cart", "SELECT user_id, version FROM carts").await?;
    let version = |customer: &str| {
        carts
            .iter()
            .find(|(user, _)| user == customer)
            .map(|(_, version)| *version)
    };
    let copies = home.cached_carts().await?.into_iter();
    Ok(copies
        .map(|(customer, copy)| {
            let stored = version(&customer);
            (customer, copy, stored)
        })
        .filter(|(_, copy, stored)| Some(*copy) != *stored)
        .collect())
}
