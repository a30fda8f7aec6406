//! Alice buys without faults.

use async_trait::async_trait;

use crate::crash::{
    customers::Customers,
    scenario::{Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct Success;

#[async_trait(?Send)]
impl Scenario for Success {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.fill_alices_cart().await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        customers.alice_buys("pm_card_ok", self.times(), responses).await
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    /// The shop has no work at its start. This scenario covers the start for all others without work.
    fn works_at_start(&self) -> bool {
        true
    }
}
