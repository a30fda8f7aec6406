//! Alice's card is declined.

use async_trait::async_trait;

use crate::crash::{
    people::People,
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct Declined;

#[async_trait(?Send)]
impl Scenario for Declined {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.fill_alices_cart().await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        people.alice_buys("pm_card_declined", self.times(), said).await
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("CARD_DECLINED"))]
    }

    fn lines_left(&self) -> usize {
        2
    }
}
