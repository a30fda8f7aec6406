//! A new product and its first delivery.

use async_trait::async_trait;
use system_tests::home::Home;

use crate::crash::{
    customers::Customers,
    scenario::{ExpectedRows, FirstResponses, Responses, Scenario},
};

const DELIVERED: i64 = 60;

#[derive(Debug)]
pub(super) struct Delivery;

#[async_trait(?Send)]
impl Scenario for Delivery {
    async fn prepare(&self, _customers: &Customers<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// Leaves the products as a process of an earlier version writes them.
    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        home.execute("product", "UPDATE products SET search_marked = NULL")
            .await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        let made = customers.offer(DELIVERED).await?;
        responses.push(("product", format!("{made:?}").into()));
        let stocked = customers.stock_up(DELIVERED, 10).await?;
        responses.push(("stock", format!("{stocked:?}").into()));
        Ok(())
    }

    fn other_requests(&self) -> &[&'static str] {
        &["product", "stock"]
    }

    fn expected_rows(&self, _first: &FirstResponses<'_>) -> Vec<ExpectedRows> {
        let stock = format!("SELECT on_hand FROM stock WHERE product_id = {DELIVERED}");
        let received = format!("SELECT count(*) FROM ledger WHERE product_id = {DELIVERED}");
        let products = "SELECT id FROM products ORDER BY id".to_owned();
        vec![
            ("pieces", "inventory", stock, vec![10]),
            ("deliveries", "inventory", received, vec![1]),
            ("products", "product", products, vec![1, 2, 3, 4, 5, DELIVERED]),
        ]
    }
}
