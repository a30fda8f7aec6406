//! Alice's hold is lost as in [`HoldLost`], in a process that finds her saga without an owner.

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use system_tests::{home::Home, process::ShopProcess};

use super::hold_lost::{HoldLost, get_ahead_of_alice};
use crate::crash::{
    outage::{bring_the_provider_back, send_the_provider_away},
    people::{People, buy, note},
    scenario::{Answers, Fact, Said, Scenario},
};

#[derive(Debug)]
pub(super) struct TakenUp;

#[async_trait(?Send)]
impl Scenario for TakenUp {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        HoldLost.prepare(people).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        send_the_provider_away(home).await?;
        leave_alice_alone(home).await?;
        bring_the_provider_back(home).await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        people.alice_buys("pm_card_ok", self.times(), said).await?;
        note(said, "bob", buy(&people.bob, "pm_card_ok").await)
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        HoldLost.endings()
    }

    fn lines_left(&self) -> usize {
        HoldLost.lines_left()
    }

    fn facts(&self, answers: &Answers<'_>) -> Vec<Fact> {
        HoldLost.facts(answers)
    }

    /// It takes up alice's saga.
    fn opens_with_work(&self) -> bool {
        true
    }
}

/// The process goes while alice waits to be charged, for what bob has bought by then.
async fn leave_alice_alone(home: &Home) -> anyhow::Result<()> {
    let scenario: &dyn Scenario = &HoldLost;
    let shop = ShopProcess::open(scenario.command(home)).await?;
    let people = People::of(&shop, home)?;
    tokio::select! {
        alice = buy(&people.alice, "pm_card_ok") => bail!("alice was answered: {alice:?}"),
        bob = get_ahead_of_alice(&people) => {
            let bought = bob?.context("no answer in time")?;
            ensure!(bought["status"] == "COMPLETED", "{bought}");
        }
    }
    shop.kill().await
}
