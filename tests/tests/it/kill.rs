//! The process is killed at random, twenty times, under load.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, ensure};
use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shopping::check_out,
};
use tokio::sync::watch;

use crate::BINARY;

const KILLS: u64 = 20;
const CLIENTS: usize = 16;
const TIMEOUT: Duration = Duration::from_mins(1);
const METHODS: [&str; 4] = ["pm_card_ok", "pm_card_ok", "pm_card_ok", "pm_card_declined"];

/// The response to each client and key; null when the request was sent and no response came.
type Responses = Arc<Mutex<BTreeMap<(usize, String), Value>>>;

/// How many responses have come since the start of the shop.
type ResponseCount = watch::Sender<u64>;

fn method(key: &str) -> &'static str {
    METHODS[key.len() % METHODS.len()]
}

async fn checkout(shop: &ShopProcess, client: usize, key: &str) -> anyhow::Result<Option<Value>> {
    check_out(&shop.customer(&format!("client-{client}"))?, key, method(key)).await
}

async fn buy_until_killed(
    shop: &ShopProcess,
    client: usize,
    round: u64,
    (responses, count): (&Responses, &ResponseCount),
) -> anyhow::Result<()> {
    let customer = shop.customer(&format!("client-{client}"))?;
    for purchase in 0.. {
        let item = json!({"product_id": 2 + (round + purchase) % 4, "quantity": 1});
        customer.post("/api/v1/cart/items", &item).await?;
        let key = format!("{round}-{purchase}-{}", "x".repeat(usize::try_from(purchase)? % 4));
        responses.lock().unwrap().insert((client, key.clone()), Value::Null);
        if let Some(answer) = checkout(shop, client, &key).await? {
            responses.lock().unwrap().insert((client, key), answer);
            count.send_modify(|responses| *responses += 1);
        }
    }
    Ok(())
}

on_every_profile! { kills_lose_no_acknowledged_purchase_and_leave_none_half_done }

async fn kills_lose_no_acknowledged_purchase_and_leave_none_half_done(profile: Profile) -> anyhow::Result<()> {
    let home = Home::new(profile).await?;
    let responses = Responses::default();
    for round in 0..KILLS {
        let shop = ShopProcess::open(home.command(BINARY)).await?;
        let count = ResponseCount::new(0);
        let clients = (0..CLIENTS).map(|client| buy_until_killed(&shop, client, round, (&responses, &count)));
        let mut load = Box::pin(join_all(clients));
        // Killed a random time after a random number of responses, so that the speed of the machine does not matter.
        let (enough, moment) = (fastrand::u64(10..150), Duration::from_millis(fastrand::u64(0..30)));
        let mut watched = count.subscribe();
        tokio::select! {
            ended = &mut load => anyhow::bail!("the clients ended before the shop did: {ended:?}"),
            counted = tokio::time::timeout(TIMEOUT, watched.wait_for(|responses| *responses >= enough)) =>
                drop(counted.context("too few responses")??),
        }
        // Every client ends with an error when the shop is killed.
        let _ = tokio::time::timeout(moment, load).await;
        shop.kill().await?;
    }
    let shop = ShopProcess::open(home.command(BINARY)).await?;
    let responses = responses.lock().unwrap().clone();
    let acknowledged = responses.values().filter(|answer| !answer.is_null()).count();
    let shop = &shop;
    let checks: Vec<anyhow::Result<()>> = stream::iter(&responses)
        .map(|((client, key), before)| async move {
            let now = tokio::time::timeout(TIMEOUT, checkout(shop, *client, key)).await??;
            match now {
                Some(now) if before.is_null() || now == *before => {
                    ensure!(["COMPLETED", "FAILED"].iter().any(|end| now["status"] == *end), "{now}");
                    Ok(())
                }
                // The request never arrived, and the cart is empty now.
                None if before.is_null() => Ok(()),
                now => anyhow::bail!("client {client}, key {key}: was {before}, is {now:?}"),
            }
        })
        .buffer_unordered(CLIENTS)
        .collect()
        .await;
    checks.into_iter().collect::<anyhow::Result<()>>()?;
    books::wait_until_idle(&home).await.context("after the last start")?;
    books::balance(&home).await?;
    println!(
        "{KILLS} kills, {} requests sent, {acknowledged} acknowledged",
        responses.len()
    );
    Ok(())
}
