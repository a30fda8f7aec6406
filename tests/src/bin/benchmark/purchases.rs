//! Measures the time from a start to the first purchase, and the throughput of purchases.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shopping::stock_up,
};

use crate::{client::Client, percentile};

const STARTS: usize = 10;
const CHECKOUTS: usize = 10_000;
/// The numbers of clients unless the arguments name others.
const CLIENTS: [usize; 4] = [1, 4, 16, 64];

/// Measures starts, then purchases for each number of clients.
pub(crate) async fn measure(binary: &Path, profile: Profile, given: &[usize]) -> anyhow::Result<()> {
    println!("{:<44} {:>10}", "start to first completed checkout", "ms");
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(start_to_checkout(binary, profile).await?);
    }
    starts.sort_unstable();
    for (name, index) in [("fastest", 0), ("median", STARTS / 2), ("slowest", STARTS - 1)] {
        println!("  {name:<42} {:>10}", starts[index].as_millis());
    }
    println!(
        "\n{:<10} {:>12} {:>12} {:>10} {:>10} {:>10}",
        "clients", "checkouts", "checkouts/s", "p50 ms", "p99 ms", "RSS MiB"
    );
    for clients in if given.is_empty() { &CLIENTS } else { given } {
        let run = load(binary, profile, *clients, CHECKOUTS).await?;
        println!(
            "{clients:<10} {:>12} {:>12} {:>10} {:>10} {:>10}",
            run.latencies.len(),
            run.per_second(),
            percentile(&run.latencies, 50),
            percentile(&run.latencies, 99),
            run.memory >> 20
        );
    }
    Ok(())
}

/// The time from the start of the process on empty stores to the answer of a purchase.
async fn start_to_checkout(binary: &Path, profile: Profile) -> anyhow::Result<Duration> {
    let home = Home::new(profile).await?;
    let began = Instant::now();
    let shop = ShopProcess::open(home.command(binary)).await?;
    let mut client = Client::connect(shop.customer("1")?).await?;
    client.buy(2, "first").await?;
    let took = began.elapsed();
    shop.stop().await?;
    Ok(took)
}

pub(crate) struct Run {
    pub(crate) took: Duration,
    /// The latencies of the checkout requests, sorted.
    pub(crate) latencies: Vec<Duration>,
    memory: u64,
}

impl Run {
    /// Purchases per second.
    pub(crate) fn per_second(&self) -> u128 {
        u128::try_from(self.latencies.len()).unwrap_or_default() * 1000 / self.took.as_millis().max(1)
    }
}

/// Makes purchases of one line each. Each client waits for its answer before the next. Then the books must balance.
pub(crate) async fn load(binary: &Path, profile: Profile, clients: usize, purchases: usize) -> anyhow::Result<Run> {
    let home = Home::new(profile).await?;
    let shop = ShopProcess::open(home.command(binary)).await?;
    stock_up(shop.addresses["inventory"]).await?;
    let began = Instant::now();
    let each = purchases / clients;
    let latencies = try_join_all((0..clients).map(|client| {
        let shop = &shop;
        async move {
            let mut connection = Client::connect(shop.customer("nobody")?).await?;
            let mut latencies = Vec::with_capacity(each);
            for purchase in 0..each {
                // Every purchase has a new customer, because items leave the cart only some time after the purchase.
                connection.customer = shop.customer(&format!("customer-{client}-{purchase}"))?;
                let product = 2 + i64::try_from(purchase % 4)?;
                latencies.push(connection.buy(product, &format!("purchase-{purchase}")).await?);
            }
            anyhow::Ok(latencies)
        }
    }))
    .await?;
    let took = began.elapsed();
    books::wait_until_idle(&home).await?;
    let memory = shop.resident_memory()?;
    books::balance(&home).await?;
    shop.stop().await?;
    let mut latencies: Vec<_> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    Ok(Run {
        took,
        latencies,
        memory,
    })
}
