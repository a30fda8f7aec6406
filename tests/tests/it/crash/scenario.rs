//! A scenario: its shop, what customers do in it, and how it must end.

use std::{collections::BTreeMap, fmt::Debug};

use async_trait::async_trait;
use serde_json::Value;
use system_tests::home::Home;
use tokio::process::Command;

use super::customers::Customers;
use crate::BINARY;

/// The commits of every start.
const STARTUP_COMMITS: [&str; 3] = ["commit:bus.topic:", "commit:checkout.disown:", "commit:outbox.prune:"];

/// The responses in order of arrival, each with the name of its request.
pub(super) type Responses = Vec<(&'static str, Value)>;

/// The first response to each request.
pub(super) type FirstResponses<'a> = BTreeMap<&'static str, &'a Value>;

/// A query and its expected rows: name, store, query, numbers.
pub(super) type ExpectedRows = (&'static str, &'static str, String, Vec<i64>);

/// Each scenario is a file in `scenarios` and a line of the list there.
#[async_trait(?Send)]
pub(super) trait Scenario: Debug + Send + Sync {
    /// Prepares a new shop, which is then closed. By default alice fills her cart.
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.fill_alices_cart().await
    }

    /// Changes the closed shop before it is opened again.
    async fn while_closed(&self, _home: &Home) -> anyhow::Result<()> {
        Ok(())
    }

    /// Sends the requests and records the responses; by default alice checks out. Fails if a response is missing. After a
    /// crash it runs again until every request has a response.
    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        customers.alice_buys(self.method(), self.times(), responses).await
    }

    /// Alice's payment method.
    fn method(&self) -> &'static str {
        "pm_card_ok"
    }

    /// Checks the restarted shop after a crash, before the scenario runs again.
    async fn after_crash(&self, _customers: &Customers<'_>, _responses: &Responses) -> anyhow::Result<()> {
        Ok(())
    }

    /// The purchases: the customer, and the reason of the failure, or `None` if the purchase completes.
    fn purchases(&self) -> &[(&'static str, Option<&'static str>)] {
        &[]
    }

    /// The other requests, whose response never changes.
    fn other_requests(&self) -> &[&'static str] {
        &[]
    }

    /// How many concurrent requests each purchase has.
    fn times(&self) -> usize {
        1
    }

    /// The lines left in alice's cart at the end.
    fn lines_left(&self) -> usize {
        0
    }

    /// What the stores must contain at the end, beyond the books.
    fn expected_rows(&self, _first: &FirstResponses<'_>) -> Vec<ExpectedRows> {
        Vec::new()
    }

    /// Whether the shop has work to do at its start. If not, another scenario covers crashes at the start.
    fn works_at_start(&self) -> bool {
        false
    }

    /// How long stock stays reserved; `None` for the default.
    fn reservation_ttl(&self) -> Option<&'static str> {
        None
    }
}

impl dyn Scenario + '_ {
    pub(super) fn requests(&self) -> impl Iterator<Item = &'static str> {
        let purchases = self.purchases().iter().map(|(who, _)| *who);
        purchases.chain(self.other_requests().iter().copied())
    }

    /// Whether another scenario covers a crash at this point.
    pub(super) fn is_covered_elsewhere(&self, point: &str) -> bool {
        !self.works_at_start() && STARTUP_COMMITS.iter().any(|commit| point.starts_with(commit))
    }

    /// The command that starts the shop.
    pub(super) fn command(&self, home: &Home) -> Command {
        let mut command = home.command(BINARY);
        if let Some(ttl) = self.reservation_ttl() {
            command.env("RESERVATION_TTL", ttl);
        }
        command
    }
}
