//! Alice sends one checkout twice concurrently.

use async_trait::async_trait;

use crate::crash::{
    customers::Customers,
    scenario::{Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct Duplicate;

#[async_trait(?Send)]
impl Scenario for Duplicate {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.fill_alices_cart().await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        customers.alice_buys("pm_card_ok", self.times(), responses).await
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    fn times(&self) -> usize {
        2
    }
}
