//! Alice's reservation expires as in [`ReservationExpired`], and another process recovers her saga.

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use system_tests::{home::Home, process::ShopProcess};

use super::reservation_expired::{ReservationExpired, buy_expired_stock};
use crate::crash::{
    customers::{Customers, buy, record},
    outage::{restore_provider, stop_provider},
    scenario::{ExpectedRows, FirstResponses, Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct Recovered;

#[async_trait(?Send)]
impl Scenario for Recovered {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        ReservationExpired.prepare(customers).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        stop_provider(home).await?;
        kill_while_alice_waits(home).await?;
        restore_provider(home).await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        customers.alice_buys("pm_card_ok", self.times(), responses).await?;
        record(responses, "bob", buy(&customers.bob, "pm_card_ok").await)
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        ReservationExpired.purchases()
    }

    fn lines_left(&self) -> usize {
        ReservationExpired.lines_left()
    }

    fn expected_rows(&self, first: &FirstResponses<'_>) -> Vec<ExpectedRows> {
        ReservationExpired.expected_rows(first)
    }

    /// The start recovers alice's saga.
    fn works_at_start(&self) -> bool {
        true
    }
}

/// Kills the process while alice waits to be charged, after bob has bought what was reserved for her.
async fn kill_while_alice_waits(home: &Home) -> anyhow::Result<()> {
    let scenario: &dyn Scenario = &ReservationExpired;
    let shop = ShopProcess::open(scenario.command(home)).await?;
    let customers = Customers::of(&shop, home)?;
    tokio::select! {
        alice = buy(&customers.alice, "pm_card_ok") => bail!("alice was answered: {alice:?}"),
        bob = buy_expired_stock(&customers) => {
            let bought = bob?.context("no answer in time")?;
            ensure!(bought["status"] == "COMPLETED", "{bought}");
        }
    }
    shop.kill().await
}
