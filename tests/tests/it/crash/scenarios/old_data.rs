//! An event older than the retention, and an abandoned cart of the same age.

use async_trait::async_trait;
use system_tests::home::{Home, Profile};

use crate::crash::{
    customers::{Customers, buy, record},
    scenario::{ExpectedRows, FirstResponses, Responses, Scenario},
};

#[derive(Debug)]
pub(super) struct OldData;

#[async_trait(?Send)]
impl Scenario for OldData {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.buy_laptops(&customers.alice, 1).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        age_events(home).await?;
        if home.profile() == Profile::Embedded {
            // An earlier version signed no events, and so had no key.
            std::fs::remove_file(home.folder().join("events.key"))?;
            // MongoDB expires carts by itself.
            insert_old_cart(home).await?;
        }
        Ok(())
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        let gone = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM outbox)";
        customers.until("the old event is gone", "checkout", gone).await?;
        let gone = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM carts WHERE user_id = 'carol')";
        customers.until("the old cart is gone", "cart", gone).await?;
        record(responses, "alice", buy(&customers.alice, "pm_card_ok").await)
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", None)]
    }

    fn expected_rows(&self, _first: &FirstResponses<'_>) -> Vec<ExpectedRows> {
        let kept = "SELECT count(*) FROM outbox".to_owned();
        vec![("events that are kept", "checkout", kept, vec![0])]
    }

    /// The start removes old events and carts.
    fn works_at_start(&self) -> bool {
        true
    }
}

/// Makes published events older than their retention.
async fn age_events(home: &Home) -> anyhow::Result<()> {
    let eight_days = match home.profile() {
        Profile::Embedded => "8 * 24 * 3600 * 1000",
        Profile::Engines => "interval '8 days'",
    };
    let sql = format!("UPDATE outbox SET published_at = published_at - {eight_days}");
    home.execute("checkout", &sql).await
}

/// Inserts an abandoned cart.
async fn insert_old_cart(home: &Home) -> anyhow::Result<()> {
    let document = r#"{"user":"carol","cart_id":"00000000-0000-0000-0000-000000000001","version":1,"lines":[],
        "updated_at":0,"last_hold":0,"applied_floor":null,"applied":[]}"#;
    let sql = format!(
        "INSERT INTO carts (user_id, cart_id, version, document, updated_at)
         VALUES ('carol', '00000000-0000-0000-0000-000000000001', 1, '{document}', 0)"
    );
    home.execute("cart", &sql).await
}
