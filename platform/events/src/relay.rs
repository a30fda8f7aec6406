//! The relay: carries the outbox to the bus.

use std::{sync::Arc, time::Duration};

use runtime::{Kind, Points, Tasks, telemetry::chain};
use storage::StoreError;
use tokio::{sync::Notify, time::Instant};

use crate::{
    EventBus, Message, Outbox,
    outbox::{Fence, Pending},
};

/// How long the lease on an outbox lasts; it is extended when half of it is over.
const LEASE: Duration = Duration::from_secs(10);
/// How soon a relay asks again for a lease that another holds: that one may be gone.
const LEASE_RETRY: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_hours(1);
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Wakes the relay of this process: called when a transaction with outbox rows was committed.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Publishes the rows of one outbox in order, and marks them once the bus has them. Only the holder of the lease does so. A
/// crash between the two publishes rows again: consumers tell by the event's id. Clones are the same relay: one of them runs.
#[derive(Clone)]
pub struct Relay {
    pub outbox: Arc<dyn Outbox>,
    pub bus: Arc<dyn EventBus>,
    pub wake: Wake,
    /// Names this relay in the lease. The same name takes the lease back at once after a restart.
    pub owner: String,
    /// How long a row may wait whose wake-up was lost.
    pub poll: Duration,
    /// Rows that are published at once, at most.
    pub batch: u32,
    /// How long published rows are kept.
    pub retention: Duration,
    pub points: Points,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox failed")]
    Outbox(#[from] StoreError),
    #[error("the bus failed")]
    Bus(#[from] crate::BusError),
}

/// What became of one look at the outbox.
enum Round {
    /// There may be more.
    Full,
    Done,
    /// Another relay holds the lease.
    NotHolder,
    /// The lease was taken just now. The holder before may have published these rows since they were read.
    Taken,
}

impl Relay {
    /// Runs until the tasks are stopping. Whatever fails is tried again.
    pub async fn run(self, tasks: Tasks) {
        let mut backoff = BACKOFF;
        // A relay that never runs for long prunes as well: at first, and then every hour.
        let mut pruned: Option<Instant> = None;
        let mut lease = None;
        while !tasks.is_stopping() {
            let wait = match self.round(&mut lease).await {
                Ok(Round::Full) => Duration::ZERO,
                Ok(Round::Done) => self.poll,
                Ok(Round::NotHolder) => self.poll.min(LEASE_RETRY),
                // Nothing was published, so that nothing is known of a bus that failed before.
                Ok(Round::Taken) => continue,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        ?backoff,
                        "events could not be published; trying again"
                    );
                    lease = None;
                    let wait = backoff;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                    tasks.sleep(wait).await;
                    continue;
                }
            };
            backoff = BACKOFF;
            // What waits to be published goes first.
            if !wait.is_zero() && pruned.is_none_or(|at| at.elapsed() > PRUNE_EVERY) {
                if self.prune().await {
                    continue;
                }
                pruned = Some(Instant::now());
            }
            if !wait.is_zero() {
                tokio::select! {
                    () = self.wake.0.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                    () = tasks.stopping() => {}
                }
            }
        }
    }

    /// Publishes one batch.
    async fn round(&self, lease: &mut Option<(Fence, Instant)>) -> Result<Round, RelayError> {
        let rows = self.outbox.pending(self.batch).await?;
        if rows.is_empty() {
            return Ok(Round::Done);
        }
        let before = lease.map(|(fence, _)| fence);
        let Some(fence) = self.lease(lease).await? else {
            return Ok(Round::NotHolder);
        };
        if before != Some(fence) {
            return Ok(Round::Taken);
        }
        let full = u32::try_from(rows.len()).unwrap_or(u32::MAX) == self.batch;
        let marks: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        for (topic, messages) in by_topic(rows) {
            // Here and not before: what an earlier version has put into the outbox is signed as well.
            let signatures = self.bus.signatures();
            let messages = messages
                .into_iter()
                .map(|message| signatures.sign(&topic, message))
                .collect();
            let publish = self.points.enter(Kind::Publish, &topic);
            self.bus.publish(&topic, messages).await?;
            publish.done();
        }
        let since = Instant::now();
        self.outbox.mark_published(fence, LEASE, &marks).await?;
        *lease = Some((fence, since));
        Ok(if full { Round::Full } else { Round::Done })
    }

    /// The lease, taken or extended where needed. An idle relay does not ask for it.
    async fn lease(&self, held: &mut Option<(Fence, Instant)>) -> Result<Option<Fence>, StoreError> {
        if let Some((fence, since)) = held
            && since.elapsed() < LEASE / 2
        {
            return Ok(Some(*fence));
        }
        let since = Instant::now();
        *held = self
            .outbox
            .acquire(&self.owner, LEASE)
            .await?
            .map(|fence| (fence, since));
        Ok(held.map(|(fence, _)| fence))
    }

    /// Removes some of what is past its retention; whether there may be more.
    async fn prune(&self) -> bool {
        match self.outbox.prune(self.retention).await {
            Ok(0) => false,
            Ok(rows) => {
                tracing::debug!(rows, "removed published events from the outbox");
                true
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "published events could not be removed");
                false
            }
        }
    }
}

/// Neighbours of one topic together, in order.
fn by_topic(rows: Vec<Pending>) -> Vec<(String, Vec<Message>)> {
    let mut batches: Vec<(String, Vec<Message>)> = Vec::new();
    for row in rows {
        match batches.last_mut() {
            Some((topic, messages)) if *topic == row.topic => messages.push(row.message),
            Some(_) | None => batches.push((row.topic, vec![row.message])),
        }
    }
    batches
}
