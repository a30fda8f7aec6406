//! What customers notice of hostile callers: their times before, while and after each attack.

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
use serde_json::json;
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
};
use tonic::transport::Channel;

use crate::{percentile, purchases::receive_goods};
use attacks::Attack;

const BUYERS: usize = 16;
/// How long customers buy before, while and after an attack.
const PHASES: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(5)];
const PRODUCTS: i64 = 30_000;
/// Products that are made at once.
const MAKERS: i64 = 64;
/// What a process may open, where an attack is about that.
const FEW_FILES: u32 = 300;

/// Each attack on a shop of its own, while sixteen customers buy; prints as it goes on. At the end of each the books must
/// balance.
pub(crate) async fn measure(binary: &Path, profile: Profile) -> anyhow::Result<()> {
    println!(
        "{:<34} {:<7} {:>9} {:>9} {:>9} {:>11} {:>8}",
        "attack", "", "purchases", "p50 ms", "p99 ms", "not served", "RSS MiB"
    );
    for attack in Attack::ALL {
        under(attack, binary, profile).await?;
    }
    Ok(())
}

async fn under(attack: Attack, binary: &Path, profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let started = if attack.is_about_files() {
        with_few_files(home.folder(), binary)?
    } else {
        binary.to_owned()
    };
    let shop = ShopProcess::open(home.command(&started)).await?;
    receive_goods(shop.addresses["inventory"]).await?;
    if attack.wants_a_catalogue() {
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
    books::settle(&home).await?;
    books::balance(&home).await?;
    shop.stop().await?;
    Ok(())
}

/// A program that is the binary with few files to open.
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

/// What customers did in one phase.
struct Bought {
    /// Of the checkout requests.
    times: Vec<Duration>,
    /// Purchases that were refused, failed or got no answer.
    not_served: usize,
    /// Of the shop, at the end, in bytes.
    memory: u64,
}

/// Purchases of all buyers, each on connections of its own, until the time is over.
async fn buy(shop: &ShopProcess, phase: &str, length: Duration) -> anyhow::Result<Bought> {
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
    Ok(Bought {
        times,
        not_served,
        memory: shop.resident_memory()?,
    })
}

/// How long the checkout took.
async fn purchase_of(shop: &ShopProcess, name: &str, purchase: i64) -> anyhow::Result<Duration> {
    let customer = shop.customer(name)?;
    let whole = async {
        let item = json!({"product_id": 2 + purchase % 4, "quantity": 1});
        let added = customer.post("/api/v1/cart/items", &item).await?;
        anyhow::ensure!(added.status.is_success(), "{added:?}");
        let began = Instant::now();
        let bought = customer
            .post("/api/v1/checkout", &json!({"idempotency_key": "k"}))
            .await?;
        anyhow::ensure!(bought.json()["status"] == "COMPLETED", "{bought:?}");
        anyhow::Ok(began.elapsed())
    };
    tokio::time::timeout(Duration::from_secs(30), whole).await?
}

/// Many products with long descriptions, so that a page of them is large.
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
