//! Alice wants two laptops of which bob has bought all but one.

use async_trait::async_trait;

use crate::crash::{customers::Customers, scenario::Scenario};

#[derive(Debug)]
pub(super) struct OutOfStock;

#[async_trait(?Send)]
impl Scenario for OutOfStock {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.buy_laptops(&customers.bob, 99).await?;
        customers.fill_alices_cart().await
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("OUT_OF_STOCK"))]
    }

    fn lines_left(&self) -> usize {
        2
    }
}
