//! Alice's card is declined.

use async_trait::async_trait;

use crate::crash::{
    customers::Customers,
    scenario::{Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct Declined;

#[async_trait(?Send)]
impl Scenario for Declined {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.fill_alices_cart().await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        customers.alice_buys("pm_card_declined", self.times(), responses).await
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("CARD_DECLINED"))]
    }

    fn lines_left(&self) -> usize {
        2
    }
}
