//! Measures reads of carts while Redis is up, stopped, hung and emptied.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures::future::try_join_all;
use http::Method;
use serde_json::json;
use system_tests::{
    engine_set::{Action, EngineSet},
    home::Home,
    process::ShopProcess,
};
use testing::Engine;

use crate::{client::Client, percentile};

const CLIENTS: usize = 4;
/// Reads per client and state of Redis.
const READS: usize = 2_500;
/// The client changes its cart after every fourth read.
const READS_PER_CHANGE: usize = 4;
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Measures on engines of its own; every request must succeed.
pub(crate) async fn measure(binary: &Path) -> anyhow::Result<()> {
    let engines = EngineSet::up().await?;
    let home = Home::on(&engines).await?;
    let shop = ShopProcess::open(home.command(binary)).await?;
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let mut client = Client::connect(shop.customer(&format!("customer-{client}"))?).await?;
        client.add_to_cart(2).await?;
        clients.push(client);
    }
    // Warms up the process.
    read(&mut clients).await?;
    println!("{:<24} {:>12} {:>10} {:>10}", "Redis", "reads", "p50 ms", "p99 ms");
    print("up", &read(&mut clients).await?);
    engines.engine(Engine::Redis, Action::Stop).await?;
    print("stopped", &read(&mut clients).await?);
    engines.engine(Engine::Redis, Action::Start).await?;
    print("back", &read(&mut clients).await?);
    engines.engine(Engine::Redis, Action::Pause).await?;
    print("hung", &read(&mut clients).await?);
    engines.engine(Engine::Redis, Action::Resume).await?;
    print("back", &read(&mut clients).await?);
    let flushes = async {
        let mut turn = tokio::time::interval(FLUSH_EVERY);
        loop {
            turn.tick().await;
            home.empty_cache().await?;
        }
    };
    let times = tokio::select! {
        times = read(&mut clients) => times?,
        failed = flushes => return failed,
    };
    print("emptied ten times a second", &times);
    shop.stop().await?;
    Ok(())
}

fn print(redis: &str, times: &[Duration]) {
    println!(
        "{redis:<24} {:>12} {:>10} {:>10}",
        times.len(),
        percentile(times, 50),
        percentile(times, 99)
    );
}

/// Reads with all clients concurrently; returns the sorted latencies.
async fn read(clients: &mut [Client]) -> anyhow::Result<Vec<Duration>> {
    let times = try_join_all(clients.iter_mut().map(read_and_change)).await?;
    let mut times: Vec<_> = times.into_iter().flatten().collect();
    times.sort_unstable();
    Ok(times)
}

async fn read_and_change(client: &mut Client) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(READS);
    for n in 0..READS {
        let began = Instant::now();
        let (status, cart) = client.call(Method::GET, "/api/v1/cart", None).await?;
        times.push(began.elapsed());
        ensure!(status.is_success(), "{cart}");
        if n % READS_PER_CHANGE == 0 {
            let quantity = json!({"quantity": 1 + n % 50});
            let (status, cart) = client
                .call(Method::PUT, "/api/v1/cart/items/2", Some(&quantity))
                .await?;
            ensure!(status.is_success(), "{cart}");
        }
    }
    Ok(times)
}
