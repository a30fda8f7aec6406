//! Invalid requests: each is refused with its reason, and none changes a store.

mod rest;
mod rpc;
mod tokens;

use anyhow::Result;
use system_tests::{home::Profile, shops::Shop};

const NOBODYS: &str = "00000000-0000-4000-8000-000000000000";

/// A shop with a completed and a failed purchase, and an item in a cart.
async fn shop_with_history(profile: Profile) -> Result<Shop> {
    let shop = Shop::open(profile).await?;
    let resident = shop.buyer("resident")?;
    resident.buy_one(1, 1, "bought", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    resident.buy_one(2, 3, "refused", "pm_card_declined").await?;
    shop.wait_until_idle().await?;
    Ok(shop)
}

/// Checks that the requests change no store.
async fn assert_unchanged(shop: &Shop, requests: impl Future<Output = Result<()>>) -> Result<()> {
    let before = shop.dump().await?;
    assert!(
        before.values().map(Vec::len).sum::<usize>() > 20,
        "there is nothing that could change"
    );
    requests.await?;
    let after = shop.dump().await?;
    for (table, rows) in &before {
        assert_eq!(after.get(table), Some(rows), "{table} has changed");
    }
    assert_eq!(after.len(), before.len());
    shop.balance().await
}
