//! Alice's reservation expires while she cannot be charged, and bob buys its stock. Then she is charged and refunded.

use async_trait::async_trait;
use futures::future::join;
use serde_json::Value;
use system_tests::{home::Home, shopping::add};

use crate::crash::{
    customers::{Customers, buy, record},
    outage::{restore_provider, stop_provider},
    scenario::{ExpectedRows, FirstResponses, Responses, Scenario},
};

/// There are two pieces. Alice wants both, but cannot be charged yet; bob wants one.
const WANTED: i64 = 50;

#[derive(Debug)]
pub(super) struct ReservationExpired;

#[async_trait(?Send)]
impl Scenario for ReservationExpired {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.offer(WANTED).await?;
        customers.stock_up(WANTED, 2).await?;
        add(&customers.alice, WANTED, 2).await?;
        add(&customers.bob, WANTED, 1).await
    }

    async fn while_closed(&self, home: &Home) -> anyhow::Result<()> {
        stop_provider(home).await
    }

    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        let bob = async {
            let bought = buy_expired_stock(customers).await?;
            if bought.is_some() {
                restore_provider(customers.home).await?;
            }
            Ok(bought)
        };
        let (alice, bob) = join(buy(&customers.alice, "pm_card_ok"), bob).await;
        let recorded = record(responses, "alice", alice);
        record(responses, "bob", bob).and(recorded)
    }

    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[("alice", Some("RESERVATION_EXPIRED")), ("bob", None)]
    }

    fn lines_left(&self) -> usize {
        1
    }

    fn expected_rows(&self, first: &FirstResponses<'_>) -> Vec<ExpectedRows> {
        let alice = first["alice"]["checkout_id"].as_str().unwrap_or_default();
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

/// Bob buys the stock of alice's reservation as soon as that has expired.
pub(super) async fn buy_expired_stock(customers: &Customers<'_>) -> anyhow::Result<Option<Value>> {
    let over = format!("SELECT 1 FROM ledger WHERE product_id = {WANTED} AND kind NOT IN ('RECEIVED', 'HELD')");
    customers
        .until("alice's reservation has expired", "inventory", over)
        .await?;
    buy(&customers.bob, "pm_card_ok").await
}
