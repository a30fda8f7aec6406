//! Alice wants more than bob, who has bought 99 of a hundred, has left.

use async_trait::async_trait;

use crate::crash::{
    people::People,
    scenario::{Said, Scenario},
};

#[derive(Debug)]
pub(super) struct OutOfStock;

#[async_trait(?Send)]
impl Scenario for OutOfStock {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.has_bought(&people.bob, 99).await?;
        people.fill_alices_cart().await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        people.alice_buys("pm_card_ok", self.times(), said).await
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("OUT_OF_STOCK"))]
    }

    fn lines_left(&self) -> usize {
        2
    }
}
