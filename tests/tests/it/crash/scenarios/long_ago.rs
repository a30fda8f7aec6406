//! A purchase of long ago, whose event is not kept any longer, and a cart that was left for as long.

use async_trait::async_trait;
use system_tests::home::{Home, Profile};

use crate::crash::{
    people::{People, buy, note},
    scenario::{Answers, Fact, Said, Scenario},
};

#[derive(Debug)]
pub(super) struct LongAgo;

#[async_trait(?Send)]
impl Scenario for LongAgo {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.has_bought(&people.alice, 1).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        send_to_the_past(home).await?;
        if home.profile() == Profile::Embedded {
            // As a version leaves it that signed no events.
            std::fs::remove_file(home.folder().join("events.key"))?;
            // Where MongoDB keeps carts, it drops them by itself.
            leave_an_old_cart(home).await?;
        }
        Ok(())
    }

    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        let gone = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM outbox)";
        people.until("the old event is gone", "checkout", gone).await?;
        let gone = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM carts WHERE user_id = 'carol')";
        people.until("the old cart is gone", "cart", gone).await?;
        note(said, "alice", buy(&people.alice, "pm_card_ok").await)
    }

    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    fn facts(&self, _answers: &Answers<'_>) -> Vec<Fact> {
        let kept = "SELECT count(*) FROM outbox".to_owned();
        vec![("events that are kept", "checkout", kept, vec![0])]
    }

    /// It drops what is old.
    fn opens_with_work(&self) -> bool {
        true
    }
}

/// Makes events a day older than published ones are kept.
async fn send_to_the_past(home: &Home) -> anyhow::Result<()> {
    let eight_days = match home.profile() {
        Profile::Embedded => "8 * 24 * 3600 * 1000",
        Profile::Engines => "interval '8 days'",
    };
    let sql = format!("UPDATE outbox SET published_at = published_at - {eight_days}");
    home.execute("checkout", &sql).await
}

/// Somebody left a cart and did not come back.
async fn leave_an_old_cart(home: &Home) -> anyhow::Result<()> {
    let document = r#"{"user":"carol","cart_id":"00000000-0000-0000-0000-000000000001","version":1,"lines":[],
        "updated_at":0,"last_hold":0,"applied_floor":null,"applied":[]}"#;
    let sql = format!(
        "INSERT INTO carts (user_id, cart_id, version, document, updated_at)
         VALUES ('carol', '00000000-0000-0000-0000-000000000001', 1, '{document}', 0)"
    );
    home.execute("cart", &sql).await
}
