//! The provider is away when alice is charged, and comes back.

use async_trait::async_trait;

use crate::crash::{
    people::People,
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct ProviderDown;

#[async_trait(?Send)]
impl Scenario for ProviderDown {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.fill_alices_cart().await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        people.alice_buys("pm_card_unavailable", self.times(), said).await
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }
}
