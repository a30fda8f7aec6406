//! Alice buys, and all goes well.

use async_trait::async_trait;

use crate::crash::{
    people::People,
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct Success;

#[async_trait(?Send)]
impl Scenario for Success {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.fill_alices_cart().await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        people.alice_buys("pm_card_ok", self.times(), said).await
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    /// When its shop opens there is nothing to do; this scenario stands for all others of which that is true.
    fn opens_with_work(&self) -> bool {
        true
    }
}
