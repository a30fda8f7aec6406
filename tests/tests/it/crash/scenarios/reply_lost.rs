//! Alice is charged, and the provider's answer is lost.

use async_trait::async_trait;

use crate::crash::{
    people::People,
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct ReplyLost;

#[async_trait(?Send)]
impl Scenario for ReplyLost {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.fill_alices_cart().await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        people
            .alice_buys("pm_card_charged_reply_lost", self.times(), said)
            .await
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }
}
