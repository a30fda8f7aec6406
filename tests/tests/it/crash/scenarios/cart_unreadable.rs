//! Alice's card is declined while her cart cannot be read.

use async_trait::async_trait;
use futures::future::join;
use system_tests::{home::Home, shopping::add};

use crate::crash::{
    customers::{Customers, buy, record},
    outage::{restore_provider, stop_provider},
    scenario::{Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct CartUnreadable;

#[async_trait(?Send)]
impl Scenario for CartUnreadable {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        add(&customers.alice, 2, 1).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        stop_provider(home).await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        let alice = buy(&customers.alice, "pm_card_declined");
        let (alice, back) = join(alice, corrupt_cart_until_declined(customers)).await;
        record(responses, "alice", alice).and(back)
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("CARD_DECLINED"))]
    }

    fn lines_left(&self) -> usize {
        1
    }
}

/// Alice's cart cannot be read from the time that it holds her items until her card is declined.
async fn corrupt_cart_until_declined(customers: &Customers<'_>) -> anyhow::Result<()> {
    let known = "state NOT IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING')";
    let tried = format!("SELECT 1 FROM checkouts WHERE {known} OR (state = 'PAYMENT_PENDING' AND attempts > 0)");
    customers.until("alice could not be charged", "checkout", tried).await?;
    customers.home.corrupt_cart("alice").await?;
    restore_provider(customers.home).await?;
    let declined = format!("SELECT 1 FROM checkouts WHERE {known}");
    customers
        .until("alice's card is declined", "checkout", declined)
        .await?;
    customers.home.repair_cart("alice").await
}
