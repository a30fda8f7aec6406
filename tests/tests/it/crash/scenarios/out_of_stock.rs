//! Alice wants two laptops of which bob has bought all but one.

use async_trait::async_trait;

use crate::crash::{
    customers::Customers,
    scenario::{Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct OutOfStock;

#[async_trait(?Send)]
impl Scenario for OutOfStock {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.buy_laptops(&customers.bob, 99).await?;
        customers.fill_alices_cart().await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        customers.alice_buys("pm_card_ok", self.times(), responses).await
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("OUT_OF_STOCK"))]
    }

    fn lines_left(&self) -> usize {
        2
    }
}
