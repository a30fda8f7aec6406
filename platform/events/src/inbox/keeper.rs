//! Removes old notes from an inbox, once no event can come again that is noted there.

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Tasks, Topic, telemetry::chain};
use storage::StoreError;
use uuid::Uuid;

use super::Inbox;
use crate::{BusError, DeadLetters, EventBus, retention::before};

const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Keeps an inbox small. A note goes after twice the time for which the bus keeps events, but not while one of the group's
/// topics still has an event of that time: the group reads such an event again if its offsets are lost. The note of a parked
/// event stays, because the event may be sent through again at any time. Clones are the same keeper: one of them runs.
#[derive(Clone)]
pub struct InboxKeeper {
    pub inbox: Arc<dyn Inbox>,
    pub bus: Arc<dyn EventBus>,
    pub group: &'static str,
    /// All topics that there are.
    pub topics: &'static [Topic],
    pub clock: Clock,
}

/// Why old notes are still there. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the bus failed")]
    Bus(#[from] BusError),
}

impl InboxKeeper {
    /// Runs until the tasks are stopping: looks at first, and then every hour.
    pub async fn run(self, tasks: Tasks) {
        loop {
            let tidied = tokio::select! {
                tidied = self.tidy() => tidied,
                () = tasks.stopping() => return,
            };
            let group = self.group;
            match tidied {
                Ok(notes) => tracing::debug!(group, notes, "removed old notes from the inbox"),
                Err(error) => tracing::warn!(
                    group,
                    error = chain(&error),
                    "old notes of an inbox could not be removed"
                ),
            }
            if !tasks.sleep(PRUNE_EVERY).await {
                return;
            }
        }
    }

    /// Removes the notes that are not needed any more; returns how many.
    pub async fn tidy(&self) -> Result<u64, KeeperError> {
        let before = before(&self.clock, self.bus.retention().saturating_mul(2));
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
                notes => removed += notes,
            }
        }
    }
}
