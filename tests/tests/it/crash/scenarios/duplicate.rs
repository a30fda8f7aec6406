//! Alice asks twice at once for one purchase.

use async_trait::async_trait;

use crate::crash::{
    people::People,
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct Duplicate;

#[async_trait(?Send)]
impl Scenario for Duplicate {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.fill_alices_cart().await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        people.alice_buys("pm_card_ok", self.times(), said).await
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    fn times(&self) -> usize {
        2
    }
}
