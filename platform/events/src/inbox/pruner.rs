//! Removes inbox entries whose events cannot be delivered again.

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Tasks, Topic, telemetry::chain};
use storage::StoreError;
use uuid::Uuid;

use super::Inbox;
use crate::{BusError, DeadLetters, EventBus, retention::cutoff};

const PRUNE_INTERVAL: Duration = Duration::from_hours(1);

/// Removes an entry after twice the bus' retention, unless a topic of the group still has an event of that age: the
/// group reads such an event again if its offsets are lost. The entry of a parked event stays, because the event may be
/// redriven at any time. Run only one of the clones.
#[derive(Clone)]
pub struct InboxPruner {
    pub inbox: Arc<dyn Inbox>,
    pub bus: Arc<dyn EventBus>,
    pub group: &'static str,
    /// All topics on the bus.
    pub topics: &'static [Topic],
    pub clock: Clock,
}

/// Why entries were not removed. The next run tries again.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the bus failed")]
    Bus(#[from] BusError),
}

impl InboxPruner {
    /// Prunes at start and then every hour, until the tasks are stopping.
    pub async fn run(self, tasks: Tasks) {
        loop {
            let pruned = tokio::select! {
                pruned = self.prune() => pruned,
                () = tasks.stopping() => return,
            };
            let group = self.group;
            match pruned {
                Ok(entries) => tracing::debug!(group, entries, "removed old entries of the inbox"),
                Err(error) => tracing::warn!(
                    group,
                    error = chain(&error),
                    "old entries of the inbox could not be removed"
                ),
            }
            if !tasks.sleep(PRUNE_INTERVAL).await {
                return;
            }
        }
    }

    /// Removes all entries that may go; returns how many.
    pub async fn prune(&self) -> Result<u64, PruneError> {
        let before = cutoff(&self.clock, self.bus.retention().saturating_mul(2));
        let letters = DeadLetters::new(self.bus.clone());
        let mut parked: Vec<Uuid> = Vec::new();
        for topic in self.topics.iter().filter(|topic| topic.groups.contains(&self.group)) {
            if self.bus.has_before(*topic, before).await? {
                return Ok(0);
            }
            let open = letters.list(topic.name, self.group).await?;
            parked.extend(open.iter().filter_map(|letter| letter.id.parse::<Uuid>().ok()));
        }
        let mut removed = 0;
        loop {
            match self.inbox.prune(self.group, before, &parked).await? {
                0 => return Ok(removed),
                entries => removed += entries,
            }
        }
    }
}
