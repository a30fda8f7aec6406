//! Alice's card is declined while her cart cannot be read.

use async_trait::async_trait;
use futures::future::join;
use system_tests::home::Home;

use crate::crash::{
    outage::{bring_the_provider_back, send_the_provider_away},
    people::{People, buy, fill_cart, note},
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct CartAway;

#[async_trait(?Send)]
impl Scenario for CartAway {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        fill_cart(&people.alice, 2, 1).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        send_the_provider_away(home).await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        let alice = buy(&people.alice, "pm_card_declined");
        let (alice, back) = join(alice, take_the_cart_away(people)).await;
        note(said, "alice", alice).and(back)
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("CARD_DECLINED"))]
    }

    fn lines_left(&self) -> usize {
        1
    }
}

/// Alice's cart cannot be read from when it holds what she buys until it is known that her card was declined.
async fn take_the_cart_away(people: &People<'_>) -> anyhow::Result<()> {
    let known = "state NOT IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING')";
    let tried = format!("SELECT 1 FROM checkouts WHERE {known} OR (state = 'PAYMENT_PENDING' AND attempts > 0)");
    people.until("alice could not be charged", "checkout", tried).await?;
    people.home.spoil_cart("alice").await?;
    bring_the_provider_back(people.home).await?;
    let declined = format!("SELECT 1 FROM checkouts WHERE {known}");
    people.until("alice's card is declined", "checkout", declined).await?;
    people.home.mend_cart("alice").await
}
