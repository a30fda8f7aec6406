//! What a scenario is: its shop, what people do in it, and how that must end.

use std::{collections::BTreeMap, fmt::Debug, path::Path};

use async_trait::async_trait;
use serde_json::Value;
use system_tests::home::Home;
use tokio::process::Command;

use super::people::People;

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_shop");

/// What every shop commits when it opens.
const OPENING: [&str; 3] = ["commit:bus.topic:", "commit:checkout.disown:", "commit:outbox.prune:"];

/// Who was told what, in the order in which it came: a question, and an answer to it.
pub(super) type Said = Vec<(&'static str, Value)>;

/// The first answer to each question.
pub(super) type Answers<'a> = BTreeMap<&'static str, &'a Value>;

/// What a store must say: name, store, query, answer.
pub(super) type Fact = (&'static str, &'static str, String, Vec<i64>);

/// Each is a file in `scenarios`, and a line of the list there.
#[async_trait(?Send)]
pub(super) trait Scenario: Debug + Send + Sync {
    /// Makes everything ready in a new shop, which is closed afterwards.
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()>;

    /// What becomes of the closed shop before it is opened again.
    async fn while_closed(&self, _home: &Home) -> anyhow::Result<()> {
        Ok(())
    }

    /// Does what is done, and keeps the answers that come. An error: one of them did not. It is played again after a crash,
    /// until there is an answer to each question.
    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()>;

    /// What must be true when the shop is there again after a crash, before it is played again.
    async fn after_crash(&self, _people: &People<'_>, _said: &Said) -> anyhow::Result<()> {
        Ok(())
    }

    /// How the purchases end that are made: whose it is, and the reason for which it fails; `None`: it completes.
    fn endings(&self) -> &[(&'static str, Option<&'static str>)] {
        &[]
    }

    /// What else is asked, and is answered the same however often it is asked again.
    fn other_questions(&self) -> &[&'static str] {
        &[]
    }

    /// How often each purchase is asked for at once.
    fn times(&self) -> usize {
        1
    }

    /// The lines that are in alice's cart in the end. What was not bought stays in it.
    fn lines_left(&self) -> usize {
        0
    }

    /// What the stores must say in the end, beyond their agreeing with one another.
    fn facts(&self, _answers: &Answers<'_>) -> Vec<Fact> {
        Vec::new()
    }

    /// Whether its shop has something to do when it opens. If not, a crash then is like one in another scenario.
    fn opens_with_work(&self) -> bool {
        false
    }

    /// How long stock is held; `None`: as long as it is by default.
    fn reservation_ttl(&self) -> Option<&'static str> {
        None
    }
}

impl dyn Scenario + '_ {
    pub(super) fn questions(&self) -> impl Iterator<Item = &'static str> {
        let purchases = self.endings().iter().map(|(who, _)| *who);
        purchases.chain(self.other_questions().iter().copied())
    }

    /// Whether a crash at this point would be like one in another scenario.
    pub(super) fn has_seen(&self, point: &str) -> bool {
        !self.opens_with_work() && OPENING.iter().any(|commit| point.starts_with(commit))
    }

    /// Starts its shop.
    pub(super) fn command(&self, home: &Home) -> Command {
        let mut command = home.command(Path::new(BINARY));
        if let Some(ttl) = self.reservation_ttl() {
            command.env("RESERVATION_TTL", ttl);
        }
        command
    }
}
