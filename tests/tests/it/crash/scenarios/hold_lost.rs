//! Alice's hold runs out while she cannot be charged, and bob buys what she held: she is charged after all, and gets her
//! money back.

use async_trait::async_trait;
use futures::future::join;
use serde_json::Value;
use system_tests::home::Home;

use crate::crash::{
    outage::{bring_the_provider_back, send_the_provider_away},
    people::{People, buy, fill_cart, note},
    scenario::{Answers, Fact, Said, Scenario},
};

/// There are two pieces of it, and both are wanted: by alice, who cannot be charged yet, and one of them by bob.
const WANTED: i64 = 50;

#[derive(Debug)]
pub(super) struct HoldLost;

#[async_trait(?Send)]
impl Scenario for HoldLost {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.offer(WANTED).await?;
        people.stock_up(WANTED, 2).await?;
        fill_cart(&people.alice, WANTED, 2).await?;
        fill_cart(&people.bob, WANTED, 1).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        send_the_provider_away(home).await
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        let bob = async {
            let bought = get_ahead_of_alice(people).await?;
            if bought.is_some() {
                bring_the_provider_back(people.home).await?;
            }
            Ok(bought)
        };
        let (alice, bob) = join(buy(&people.alice, "pm_card_ok"), bob).await;
        let noted = note(said, "alice", alice);
        note(said, "bob", bob).and(noted)
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("RESERVATION_EXPIRED")), ("bob", None)]
    }

    fn lines_left(&self) -> usize {
        1
    }

    fn facts(&self, answers: &Answers<'_>) -> Vec<Fact> {
        let alice = answers["alice"]["checkout_id"].as_str().unwrap_or_default();
        let refunds = format!("SELECT count(*) FROM refunds WHERE idempotency_key = '{alice}'");
        let left = format!("SELECT on_hand - held FROM stock WHERE product_id = {WANTED}");
        vec![
            ("alice's refunds", "provider", refunds, vec![1]),
            ("pieces that bob has left", "inventory", left, vec![1]),
        ]
    }

    fn reservation_ttl(&self) -> Option<&'static str> {
        Some("50ms")
    }
}

/// Bob buys what alice held, as soon as her time is over.
pub(super) async fn get_ahead_of_alice(people: &People<'_>) -> anyhow::Result<Option<Value>> {
    let over = format!("SELECT 1 FROM ledger WHERE product_id = {WANTED} AND kind NOT IN ('RECEIVED', 'HELD')");
    people.until("alice's hold is over", "inventory", over).await?;
    buy(&people.bob, "pm_card_ok").await
}
