//! Nothing can be sold or given back for a while, when alice has paid and bob's card was declined.

use async_trait::async_trait;
use futures::future::join3;
use system_tests::home::Home;

use crate::crash::{
    outage::Outage,
    people::{People, buy, fill_cart, note},
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct StockAway;

#[async_trait(?Send)]
impl Scenario for StockAway {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        fill_cart(&people.alice, 2, 1).await?;
        fill_cart(&people.bob, 2, 1).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        let outage = Outage {
            store: "inventory",
            table: "reservations",
            change: "UPDATE",
            when: "NEW.state IN ('CONFIRMED', 'RELEASED')".to_owned(),
        };
        outage.begin(home).await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        let (alice, bob) = (buy(&people.alice, "pm_card_ok"), buy(&people.bob, "pm_card_declined"));
        let (alice, bob, back) = join3(alice, bob, bring_the_stock_back(people)).await;
        let noted = note(said, "alice", alice);
        note(said, "bob", bob).and(noted).and(back)
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None), ("bob", Some("CARD_DECLINED"))]
    }
}

/// It can be sold and given back once alice has paid, and bob's card was declined.
async fn bring_the_stock_back(people: &People<'_>) -> anyhow::Result<()> {
    let both = "SELECT 1 WHERE 2 = (SELECT count(*) FROM checkouts
        WHERE state NOT IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING'))";
    people.until("it is known who has paid", "checkout", both).await?;
    Outage::end("inventory", people.home).await
}
