//! Alice, who has a completed and a failed purchase, is erased.

use anyhow::{Context, ensure};
use async_trait::async_trait;
use serde_json::json;
use system_tests::{
    books,
    shopping::{add, check_out},
};

use crate::BINARY;
use crate::crash::{
    customers::Customers,
    scenario::{ExpectedRows, FirstResponses, Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct Erasure;

#[async_trait(?Send)]
impl Scenario for Erasure {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.buy_laptops(&customers.alice, 1).await?;
        add(&customers.alice, 2, 1).await?;
        let declined = check_out(&customers.alice, "another key", "pm_card_declined").await?;
        let declined = declined.context("no answer in time")?;
        ensure!(declined["status"] == "FAILED", "{declined}");
        books::wait_until_idle(customers.home).await
    }

    /// Runs the command `erase` beside the shop.
    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        let mut command = customers.home.command(BINARY);
        command.args(["erase", "--user", "alice", "--yes"]);
        for (service, address) in &customers.addresses {
            command.env(format!("{}_SERVICE_ADDR", service.to_uppercase()), address.to_string());
        }
        let erased = command.output().await?;
        ensure!(erased.status.success(), "{erased:?}");
        responses.push(("erasure", json!("done")));
        Ok(())
    }

    fn other_requests(&self) -> &[&'static str] {
        &["erasure"]
    }

    fn expected_rows(&self, _first: &FirstResponses<'_>) -> Vec<ExpectedRows> {
        let of_alice = |table| format!("SELECT count(*) FROM {table} WHERE user_id = 'alice'");
        let nobodys = "SELECT count(*) FROM checkouts WHERE user_id = 'erased:' || id".to_owned();
        vec![
            ("alice's cart", "cart", of_alice("carts"), vec![0]),
            ("alice's orders", "orders", of_alice("orders"), vec![0]),
            (
                "alice's notifications",
                "notification",
                of_alice("notifications"),
                vec![0],
            ),
            ("alice's checkouts", "checkout", of_alice("checkouts"), vec![0]),
            ("nobody's checkouts", "checkout", nobodys, vec![2]),
        ]
    }
}
