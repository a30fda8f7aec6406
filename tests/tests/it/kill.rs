//! Killed at random, again and again, under load.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, ensure};
use futures::{StreamExt, future::join_all, stream};
use http::StatusCode;
use serde_json::{Value, json};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
};
use tokio::sync::watch;

const BINARY: &str = env!("CARGO_BIN_EXE_shop");
const KILLS: u64 = 20;
const CLIENTS: usize = 16;
/// How long a shop may take for what it is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
const METHODS: [&str; 4] = ["pm_card_ok", "pm_card_ok", "pm_card_ok", "pm_card_declined"];

/// What each client was told of each of its keys; null when the request was sent and no answer came.
type Said = Arc<Mutex<BTreeMap<(usize, String), Value>>>;

/// How many answers have come since the start of the shop.
type Answers = watch::Sender<u64>;

fn method(key: &str) -> &'static str {
    METHODS[key.len() % METHODS.len()]
}

async fn checkout(shop: &ShopProcess, client: usize, key: &str) -> anyhow::Result<Option<Value>> {
    let customer = shop.customer(&format!("client-{client}"))?;
    let body = json!({"idempotency_key": key, "payment_method": method(key)});
    let reply = customer.post("/api/v1/checkout", &body).await?;
    Ok((reply.status == StatusCode::CREATED).then(|| reply.json()))
}

/// Buys until the shop is gone.
async fn shop_on(
    shop: &ShopProcess,
    client: usize,
    round: u64,
    (said, answers): (&Said, &Answers),
) -> anyhow::Result<()> {
    let customer = shop.customer(&format!("client-{client}"))?;
    for purchase in 0.. {
        let product = 2 + (round + purchase) % 4;
        customer
            .post("/api/v1/cart/items", &json!({"product_id": product, "quantity": 1}))
            .await?;
        let key = format!("{round}-{purchase}-{}", "x".repeat(usize::try_from(purchase)? % 4));
        said.lock().unwrap().insert((client, key.clone()), Value::Null);
        if let Some(answer) = checkout(shop, client, &key).await? {
            said.lock().unwrap().insert((client, key), answer);
            answers.send_modify(|count| *count += 1);
        }
    }
    Ok(())
}

on_every_profile! { kills_lose_no_acknowledged_purchase_and_leave_none_half_done }

async fn kills_lose_no_acknowledged_purchase_and_leave_none_half_done(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let said = Said::default();
    for round in 0..KILLS {
        let shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
        let answers = Answers::new(0);
        let clients = (0..CLIENTS).map(|client| shop_on(&shop, client, round, (&said, &answers)));
        let mut load = Box::pin(join_all(clients));
        // Killed a random moment after a random number of answers, however fast the machine is.
        let (enough, moment) = (fastrand::u64(10..150), Duration::from_millis(fastrand::u64(0..30)));
        let mut watched = answers.subscribe();
        tokio::select! {
            ended = &mut load => anyhow::bail!("the clients ended before the shop did: {ended:?}"),
            counted = tokio::time::timeout(PATIENCE, watched.wait_for(|count| *count >= enough)) => drop(counted.context("too few answers")??),
        }
        // All clients end when the shop does; what each of them saw last is an error, and no news.
        let _ = tokio::time::timeout(moment, load).await;
        shop.kill().await?;
    }
    let shop = ShopProcess::open(home.command(Path::new(BINARY))).await?;
    let said = said.lock().unwrap().clone();
    let acknowledged = said.values().filter(|answer| !answer.is_null()).count();
    let shop = &shop;
    let checks: Vec<anyhow::Result<()>> = stream::iter(&said)
        .map(|((client, key), before)| async move {
            let now = tokio::time::timeout(PATIENCE, checkout(shop, *client, key)).await??;
            match now {
                Some(now) if before.is_null() || now == *before => {
                    ensure!(["COMPLETED", "FAILED"].iter().any(|end| now["status"] == *end), "{now}");
                    Ok(())
                }
                // The request had not arrived when the shop was killed, and there is nothing in the cart to buy now.
                None if before.is_null() => Ok(()),
                now => anyhow::bail!("client {client}, key {key}: was {before}, is {now:?}"),
            }
        })
        .buffer_unordered(CLIENTS)
        .collect()
        .await;
    checks.into_iter().collect::<anyhow::Result<()>>()?;
    books::settle(&home).await.context("after the last start")?;
    books::balance(&home).await?;
    println!(
        "{KILLS} kills, {} requests sent, {acknowledged} acknowledged",
        said.len()
    );
    Ok(())
}
