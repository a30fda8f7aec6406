//! The inventory can confirm and release nothing for a while: alice has paid, and bob's card was declined.

use async_trait::async_trait;
use futures::future::join3;
use system_tests::{home::Home, shopping::add};

use crate::crash::{
    customers::{Customers, buy, record},
    outage::Outage,
    scenario::{Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct InventoryDown;

#[async_trait(?Send)]
impl Scenario for InventoryDown {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        add(&customers.alice, 2, 1).await?;
        add(&customers.bob, 2, 1).await
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

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        let (alice, bob) = (
            buy(&customers.alice, "pm_card_ok"),
            buy(&customers.bob, "pm_card_declined"),
        );
        let (alice, bob, back) = join3(alice, bob, restore_inventory(customers)).await;
        let recorded = record(responses, "alice", alice);
        record(responses, "bob", bob).and(recorded).and(back)
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None), ("bob", Some("CARD_DECLINED"))]
    }
}

/// Ends the outage once alice has paid and bob's card was declined.
async fn restore_inventory(customers: &Customers<'_>) -> anyhow::Result<()> {
    let both = "SELECT 1 WHERE 2 = (SELECT count(*) FROM checkouts
        WHERE state NOT IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING'))";
    customers.until("it is known who has paid", "checkout", both).await?;
    Outage::end("inventory", customers.home).await
}
