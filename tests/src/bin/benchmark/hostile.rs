//! The latency of purchases before, during and after attacks by hostile callers.

mod attacks;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::future::try_join_all;
use proto::{
    money::v1::Money,
    product::v1::{UpsertProductRequest, product_service_client::ProductServiceClient},
};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shopping::{self, stock_up},
};
use tonic::transport::Channel;

use crate::percentile;
use attacks::Attack;

const BUYERS: usize = 16;
/// How long customers buy before, during and after an attack.
const PHASES: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(5)];
const PRODUCTS: i64 = 30_000;
/// Products that are created concurrently.
const MAKERS: i64 = 64;
/// The limit of open files, for attacks that aim at it.
const FEW_FILES: u32 = 300;

/// Runs each attack on a shop of its own, while sixteen customers buy. The books must balance after each.
pub(crate) async fn measure(binary: &Path, profile: Profile) -> anyhow::Result<()> {
    println!(
        "{:<34} {:<7} {:>9} {:>9} {:>9} {:>11} {:>8}",
        "attack", "", "purchases", "p50 ms", "p99 ms", "not served", "RSS MiB"
    );
    for attack in Attack::ALL {
        run(attack, binary, profile).await?;
    }
    Ok(())
}

async fn run(attack: Attack, binary: &Path, profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let started = if attack.limits_open_files() {
        with_few_files(home.folder(), binary)?
    } else {
        binary.to_owned()
    };
    let shop = ShopProcess::open(home.command(&started)).await?;
    stock_up(shop.addresses["inventory"]).await?;
    if attack.needs_catalogue() {
        fill_catalogue(&shop).await?;
    }
    let (mut name, mut attackers) = (attack.name(), None);
    for (phase, length) in ["before", "while", "after"].into_iter().zip(PHASES) {
        if phase == "while" {
            attackers = Some(attack.begin(&shop));
        }
        let mut bought = buy(&shop, phase, length).await?;
        if let Some(attackers) = attackers.take() {
            attackers.end().await;
        }
        bought.times.sort_unstable();
        println!(
            "{name:<34} {phase:<7} {:>9} {:>9} {:>9} {:>11} {:>8}",
            bought.times.len(),
            percentile(&bought.times, 50),
            percentile(&bought.times, 99),
            bought.not_served,
            bought.memory >> 20
        );
        name = "";
    }
    books::check(&home).await?;
    shop.stop().await?;
    Ok(())
}

/// A script that runs the binary with a low limit of open files.
fn with_few_files(folder: &Path, binary: &Path) -> anyhow::Result<PathBuf> {
    let program = folder.join("few-files");
    let binary = binary.to_str().context("the path of the binary is no text")?;
    std::fs::write(
        &program,
        format!("#!/bin/sh\nulimit -n {FEW_FILES}\nexec '{binary}' \"$@\"\n"),
    )?;
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(program)
}

/// The purchases of one phase.
struct PhaseResult {
    /// The latencies of the checkout requests.
    times: Vec<Duration>,
    /// Purchases that were refused, failed or got no answer.
    not_served: usize,
    /// The resident memory of the shop at the end, in bytes.
    memory: u64,
}

/// Makes purchases with all buyers, each purchase on new connections, for `length`.
async fn buy(shop: &ShopProcess, phase: &str, length: Duration) -> anyhow::Result<PhaseResult> {
    let end = Instant::now() + length;
    let buyer = |buyer: usize| async move {
        let (mut times, mut not_served) = (Vec::new(), 0);
        for purchase in 0.. {
            if Instant::now() >= end {
                break;
            }
            let took = purchase_of(shop, &format!("{phase}-{buyer}-{purchase}"), purchase).await;
            match took {
                Ok(took) => times.push(took),
                Err(_) => not_served += 1,
            }
        }
        anyhow::Ok((times, not_served))
    };
    let (mut times, mut not_served) = (Vec::new(), 0);
    for (of_one, refused) in try_join_all((0..BUYERS).map(buyer)).await? {
        times.extend(of_one);
        not_served += refused;
    }
    Ok(PhaseResult {
        times,
        not_served,
        memory: shop.resident_memory()?,
    })
}

/// Returns the latency of the checkout.
async fn purchase_of(shop: &ShopProcess, name: &str, purchase: i64) -> anyhow::Result<Duration> {
    let customer = shop.customer(name)?;
    let whole = async {
        shopping::add(&customer, 2 + purchase % 4, 1).await?;
        let began = Instant::now();
        shopping::buy(&customer, "k").await?;
        anyhow::Ok(began.elapsed())
    };
    tokio::time::timeout(Duration::from_secs(30), whole).await?
}

/// Creates many products with long descriptions, so that a page is large.
async fn fill_catalogue(shop: &ShopProcess) -> anyhow::Result<()> {
    let channel = Channel::from_shared(format!("http://{}", shop.addresses["product"]))?
        .connect()
        .await?;
    let description = "a lamp for the desk, of brass and green glass, with a switch in its cable. ".repeat(19);
    let make = |maker: i64| {
        let (mut products, description) = (ProductServiceClient::new(channel.clone()), &description);
        async move {
            for id in (1000 + maker..1000 + PRODUCTS).step_by(usize::try_from(MAKERS)?) {
                let product = UpsertProductRequest {
                    id,
                    name: format!("Lamp {id}"),
                    description: description.clone(),
                    price: Some(Money {
                        currency_code: "USD".to_owned(),
                        minor_units: 1_000,
                    }),
                    image_url: String::new(),
                };
                products.upsert_product(product).await?;
            }
            anyhow::Ok(())
        }
    };
    try_join_all((0..MAKERS).map(make)).await?;
    Ok(())
}
