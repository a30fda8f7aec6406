//! Requests that nobody should send: each is refused for its reason, and none leaves a trace.

mod rest;
mod rpc;
mod tokens;

use anyhow::Result;
use system_tests::{home::Profile, shops::Shop};

const NOBODYS: &str = "00000000-0000-4000-8000-000000000000";

/// A shop in which somebody has bought something, was refused something, and has something in the cart.
async fn lived_in(profile: Profile) -> Result<Shop> {
    let shop = Shop::open(profile).await?;
    let resident = shop.buyer("resident")?;
    resident.buy_one(1, 1, "bought", "pm_card_ok").await?;
    shop.settle().await?;
    resident.buy_one(2, 3, "refused", "pm_card_declined").await?;
    shop.settle().await?;
    Ok(shop)
}

/// Checks that what happens in between leaves all stores as they are.
async fn without_a_trace(shop: &Shop, requests: impl Future<Output = Result<()>>) -> Result<()> {
    let before = shop.contents().await?;
    assert!(
        before.values().map(Vec::len).sum::<usize>() > 20,
        "there is nothing that could change"
    );
    requests.await?;
    let after = shop.contents().await?;
    for (table, rows) in &before {
        assert_eq!(after.get(table), Some(rows), "{table} has changed");
    }
    assert_eq!(after.len(), before.len());
    shop.balance().await
}
