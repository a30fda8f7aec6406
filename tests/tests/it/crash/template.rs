//! Closed shops in which everything is ready for a scenario.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use cartwright::http::Customer;
use system_tests::{books, process::ShopProcess, shops::execute};

use super::{
    people::{PRICE, People, WANTED, buy, fill_cart},
    scenario::Scenario,
};

/// A day longer than published events are kept.
const LONG_AGO: &str = "UPDATE outbox SET published_at = published_at - 8 * 24 * 3600 * 1000";

/// The data directory of a shop that was closed, or whose process is gone.
pub(super) async fn prepare(folder: &Path, scenario: Scenario) -> anyhow::Result<PathBuf> {
    let data = folder.join(format!("{scenario:?}"));
    let shop = ShopProcess::open(scenario.command(&data)).await?;
    let people = People::of(&shop, &data)?;
    match scenario {
        Scenario::Success
        | Scenario::OutOfStock
        | Scenario::Declined
        | Scenario::ReplyLost
        | Scenario::Duplicate
        | Scenario::ProviderDown => {
            if scenario == Scenario::OutOfStock {
                // Of a hundred.
                buy_now(&people.bob, 99).await?;
                books::settle(&data).await?;
            }
            fill_cart(&people.alice, 1, 2).await?;
            fill_cart(&people.alice, 2, 2).await?;
        }
        Scenario::HoldLost | Scenario::TakenUp => {
            people.offer(WANTED).await?;
            people.stock_up(WANTED, 2).await?;
            fill_cart(&people.alice, WANTED, 2).await?;
            fill_cart(&people.bob, WANTED, 1).await?;
        }
        Scenario::StockAway => {
            fill_cart(&people.alice, 2, 1).await?;
            fill_cart(&people.bob, 2, 1).await?;
        }
        Scenario::Browsing | Scenario::LongAgo => {
            buy_now(&people.alice, 1).await?;
            books::settle(&data).await?;
        }
        Scenario::Delivery => {}
    }
    close(shop).await?;
    match scenario {
        Scenario::HoldLost => send_the_provider_away(&data).await?,
        Scenario::TakenUp => {
            send_the_provider_away(&data).await?;
            leave_alice_alone(&data).await?;
            end_the_outage(&data, "provider").await?;
        }
        Scenario::StockAway => {
            let cannot = "UPDATE ON reservations WHEN NEW.state IN ('CONFIRMED', 'RELEASED')";
            begin_an_outage(&data, "inventory", cannot).await?;
        }
        Scenario::LongAgo => execute(&data, "checkout", LONG_AGO).await?,
        Scenario::Success
        | Scenario::OutOfStock
        | Scenario::Declined
        | Scenario::ReplyLost
        | Scenario::Duplicate
        | Scenario::ProviderDown
        | Scenario::Browsing
        | Scenario::Delivery => {}
    }
    Ok(data)
}

async fn close(shop: ShopProcess) -> anyhow::Result<()> {
    let (status, said) = shop.stop().await?;
    ensure!(status.success(), "{status}: {said}");
    Ok(())
}

/// Laptops, for which there are charge and stock.
async fn buy_now(customer: &Customer, laptops: i64) -> anyhow::Result<()> {
    fill_cart(customer, 1, laptops).await?;
    let bought = buy(customer, "pm_card_ok").await?.context("no answer in time")?;
    ensure!(bought["status"] == "COMPLETED", "{bought}");
    Ok(())
}

/// A store in which something cannot be written for a while.
async fn begin_an_outage(data: &Path, store: &str, cannot: &str) -> anyhow::Result<()> {
    let outage = format!(
        "CREATE TABLE back (yes INTEGER PRIMARY KEY);
         CREATE TRIGGER outage BEFORE {cannot} AND NOT EXISTS (SELECT 1 FROM back)
         BEGIN SELECT RAISE(ABORT, 'it is away'); END"
    );
    execute(data, store, outage).await
}

/// Ends it, also while the shop is open.
pub(super) async fn end_the_outage(data: &Path, store: &str) -> anyhow::Result<()> {
    execute(data, store, "INSERT OR IGNORE INTO back VALUES (1)").await
}

/// The provider cannot charge alice, who wants two pieces, but bob, who wants one.
async fn send_the_provider_away(data: &Path) -> anyhow::Result<()> {
    let cannot = format!("INSERT ON charges WHEN NEW.amount > {PRICE}");
    begin_an_outage(data, "provider", &cannot).await
}

/// The process goes while alice waits to be charged, for what bob has bought by then.
async fn leave_alice_alone(data: &Path) -> anyhow::Result<()> {
    let shop = ShopProcess::open(Scenario::HoldLost.command(data)).await?;
    let people = People::of(&shop, data)?;
    tokio::select! {
        alice = buy(&people.alice, "pm_card_ok") => bail!("alice was answered: {alice:?}"),
        bob = people.get_ahead_of_alice() => {
            let bought = bob?.context("no answer in time")?;
            ensure!(bought["status"] == "COMPLETED", "{bought}");
        }
    }
    shop.kill().await
}
