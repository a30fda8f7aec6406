//! A new product, and the first pieces of it.

use async_trait::async_trait;
use system_tests::home::Home;

use crate::crash::{
    people::People,
    scenario::{Answers, Fact, Said, Scenario},
};

const DELIVERED: i64 = 60;

#[derive(Debug)]
pub(super) struct Delivery;

#[async_trait(?Send)]
impl Scenario for Delivery {
    async fn prepare(&self, _people: &People<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// As a process of an earlier version leaves what it writes.
    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        home.execute("product", "UPDATE products SET search_marked = NULL")
            .await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        let made = people.offer(DELIVERED).await?;
        said.push(("product", format!("{made:?}").into()));
        let stocked = people.stock_up(DELIVERED, 10).await?;
        said.push(("stock", format!("{stocked:?}").into()));
        Ok(())
    }

    fn other_questions(&self) -> &[&'static str] {
        &["product", "stock"]
    }

    fn facts(&self, _answers: &Answers<'_>) -> Vec<Fact> {
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
