//! Alice, who has bought and was declined, is erased.

use std::path::Path;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use serde_json::json;
use system_tests::books;

use crate::crash::{
    people::{People, buy_with, fill_cart},
    scenario::{Answers, BINARY, Fact, Said, Scenario},
};

#[derive(Debug)]
pub(super) struct Erasure;

#[async_trait(?Send)]
impl Scenario for Erasure {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.has_bought(&people.alice, 1).await?;
        fill_cart(&people.alice, 2, 1).await?;
        let declined = buy_with(&people.alice, "another key", "pm_card_declined").await?;
        let declined = declined.context("no answer in time")?;
        ensure!(declined["status"] == "FAILED", "{declined}");
        books::settle(people.home).await
    }

    /// By the command beside the shop.
    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        let mut command = people.home.command(Path::new(BINARY));
        command.args(["erase", "--user", "alice", "--yes"]);
        for (service, address) in &people.addresses {
            command.env(format!("{}_SERVICE_ADDR", service.to_uppercase()), address.to_string());
        }
        let erased = command.output().await?;
        ensure!(erased.status.success(), "{erased:?}");
        said.push(("erasure", json!("done")));
        Ok(())
    }

    fn other_questions(&self) -> &[&'static str] {
        &["erasure"]
    }

    fn facts(&self, _answers: &Answers<'_>) -> Vec<Fact> {
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
