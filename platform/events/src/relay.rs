//! The relay: publishes the rows of an outbox to the bus.

mod state;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join;
use runtime::{
    Clock, PointKind, Points, Tasks, Topic,
    deadlines::{OUTBOX_LEASE, PUBLICATION},
    telemetry::chain,
};
use storage::StoreError;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use self::state::{Attempt, RelayState, Success};
use crate::{
    BusError, EventBus, Outbox,
    outbox::{Fence, OutboxRow},
    retention::trim_periodically,
};

/// The interval at which a relay tries to acquire a lease that another relay holds.
const LEASE_RETRY: Duration = Duration::from_secs(1);
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Wakes the relay of this process. Call it after the commit of a transaction with outbox rows.
#[derive(Debug, Clone, Default)]
pub struct RelayWaker(Arc<Notify>);

impl RelayWaker {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Publishes the rows of one outbox, topics concurrently and each in order, and marks rows that the bus has confirmed.
/// Only the holder of the lease publishes. A crash between publication and mark publishes rows again; consumers
/// recognize them by the event id. A topic that fails backs off; neither that topic nor one whose publication hangs
/// delays the others. Run only one of the clones.
#[derive(Clone)]
pub struct Relay {
    pub outbox: Arc<dyn Outbox>,
    pub bus: Arc<dyn EventBus>,
    /// The relay creates and trims these topics. It also publishes rows of other topics, and backs off while such a
    /// topic is missing.
    pub topics: &'static [Topic],
    pub wake: RelayWaker,
    /// The name of this relay in the lease. After a restart under the same name the relay regains its lease at once.
    pub owner: String,
    /// The interval at which the outbox is read when no wake-up arrives.
    pub poll: Duration,
    /// The most rows that are published at once.
    pub batch: u32,
    /// The retention of published rows.
    pub retention: Duration,
    pub clock: Clock,
    pub points: Points,
}

/// The result of reading one batch and starting its publication.
enum Round {
    /// The batch was full, so there may be more rows.
    Full,
    Started,
    /// Another relay holds the lease.
    NotHolder,
    /// The lease was acquired after the rows were read. Its last holder may have published them meanwhile.
    Acquired,
}

impl Relay {
    /// Publishes rows, deletes old published rows (prune), and deletes old events of the topics (trim), until the tasks
    /// are stopping. Retries all failures.
    pub async fn run(self, tasks: Tasks) {
        // Concurrently, because trimming waits for answers of the broker.
        let trim = trim_periodically(self.bus.as_ref(), self.topics, &self.clock, &tasks);
        join(self.publish_rows(&tasks), trim).await;
    }

    async fn publish_rows(&self, tasks: &Tasks) {
        let mut backoff = BACKOFF;
        // Prunes at start, too: a process may never live for an hour.
        let mut pruned: Option<Instant> = None;
        let mut state = RelayState::default();
        while !tasks.is_stopping() {
            let wait = match self.round(&mut state).await {
                Ok(Round::Full) => Duration::ZERO,
                Ok(Round::Started) => state.until_next_round(self.poll),
                Ok(Round::NotHolder) => self.poll.min(LEASE_RETRY),
                // Keeps the backoff: nothing was published that would show that a failed outbox works again.
                Ok(Round::Acquired) => continue,
                Err(error) => {
                    tracing::warn!(error = chain(&error), ?backoff, "the outbox failed; trying again");
                    state.lease = None;
                    let wait = backoff;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                    tasks.sleep(wait).await;
                    continue;
                }
            };
            backoff = BACKOFF;
            // Prunes only when there is nothing to publish.
            if !wait.is_zero() && pruned.is_none_or(|at| at.elapsed() > PRUNE_INTERVAL) {
                if self.prune().await {
                    continue;
                }
                pruned = Some(Instant::now());
            }
            if !wait.is_zero() {
                tokio::select! {
                    () = state.attempt_ended() => {}
                    () = self.wake.0.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                    () = tasks.stopping() => {}
                }
            }
        }
        self.finish_at_stop(state).await;
    }

    /// Finishes the attempts that have ended, reads one batch, and starts attempts at its topics.
    async fn round(&self, state: &mut RelayState) -> Result<Round, StoreError> {
        self.finish_attempts(state).await?;
        let excluded = state.excluded();
        let except: Vec<&str> = excluded.iter().map(String::as_str).collect();
        let rows = self.outbox.pending(self.batch, &except).await?;
        let full = u32::try_from(rows.len()).unwrap_or(u32::MAX) == self.batch;
        let rows = by_topic(rows);
        if !full {
            state.forget_idle(&excluded, &rows);
        }
        let topics = self.ensure_topics(rows, state);
        // The lease is extended while publications are under way, too.
        if !topics.is_empty() || state.has_attempts() {
            let before = state.lease.map(|(fence, _)| fence);
            let Some(fence) = self.lease(&mut state.lease).await? else {
                return Ok(Round::NotHolder);
            };
            if before != Some(fence) {
                return Ok(Round::Acquired);
            }
            for (topic, rows) in topics {
                self.start_publication(topic, rows, fence, state);
            }
        }
        Ok(if full { Round::Full } else { Round::Started })
    }

    /// Starts to create missing topics of these rows; returns the rows of the other topics. A later round reads the
    /// rows of the new topics.
    fn ensure_topics(
        &self,
        mut rows: BTreeMap<String, Vec<OutboxRow>>,
        state: &mut RelayState,
    ) -> BTreeMap<String, Vec<OutboxRow>> {
        for topic in self.topics {
            if !state.ensured.contains(topic.name) && rows.remove(topic.name).is_some() {
                let (bus, Topic { name, partitions, .. }) = (self.bus.clone(), *topic);
                let ensure = async move { bus.ensure_topic(name, partitions).await.map(|()| Success::Ensured) };
                state.start(name.to_owned(), ensure);
            }
        }
        rows
    }

    fn start_publication(&self, topic: String, rows: Vec<OutboxRow>, fence: Fence, state: &mut RelayState) {
        let (relay, name) = (self.clone(), topic.clone());
        state.start(topic, async move {
            let rows_of_topic = rows.iter().map(|row| row.seq).collect();
            relay.publish(&name, rows).await?;
            Ok(Success::Published(fence, rows_of_topic))
        });
    }

    async fn finish_attempts(&self, state: &mut RelayState) -> Result<(), StoreError> {
        while let Some(attempt) = state.next_ended() {
            self.finish(attempt, state).await?;
        }
        Ok(())
    }

    /// Marks the rows of a published topic. Backs off at a topic that failed.
    async fn finish(&self, attempt: Attempt, state: &mut RelayState) -> Result<(), StoreError> {
        let Attempt { topic, outcome } = attempt;
        match outcome {
            Err(error) => state.back_off(&topic, &error),
            Ok(Success::Ensured) => {
                state.ensured.insert(topic);
            }
            Ok(Success::Published(fence, rows)) => {
                state.failing.remove(&topic);
                let since = Instant::now();
                self.outbox.mark_published(fence, OUTBOX_LEASE, &rows).await?;
                state.lease = Some((fence, since));
            }
        }
        Ok(())
    }

    /// Waits for the attempts under way and marks their rows. Attempts that hang are dropped; their rows are published
    /// again after the next start.
    async fn finish_at_stop(&self, mut state: RelayState) {
        let finish = async {
            while state.has_attempts() {
                state.attempt_ended().await;
                self.finish_attempts(&mut state).await?;
            }
            Ok::<_, StoreError>(())
        };
        match timeout(PUBLICATION, finish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                error = chain(&error),
                "published events could not be marked at the stop"
            ),
            Err(_) => tracing::warn!("stopped while events were being published"),
        }
    }

    async fn publish(&self, topic: &str, rows: Vec<OutboxRow>) -> Result<(), BusError> {
        // Signed here and not by `append`, so that rows of an earlier version are signed, too.
        let signatures = self.bus.signatures();
        let sign = |row: OutboxRow| signatures.sign(topic, row.message);
        let messages = rows.into_iter().map(sign).collect();
        let publish = self.points.enter(PointKind::Publish, topic);
        self.bus.publish(topic, messages).await?;
        publish.done();
        Ok(())
    }

    /// Acquires the lease, or extends it if half of it is over. An idle relay does not call this.
    async fn lease(&self, held: &mut Option<(Fence, Instant)>) -> Result<Option<Fence>, StoreError> {
        if let Some((fence, since)) = held
            && since.elapsed() < OUTBOX_LEASE / 2
        {
            return Ok(Some(*fence));
        }
        let since = Instant::now();
        *held = self
            .outbox
            .acquire(&self.owner, OUTBOX_LEASE)
            .await?
            .map(|fence| (fence, since));
        Ok(held.map(|(fence, _)| fence))
    }

    /// Deletes some rows that were published before the retention; returns whether there may be more.
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

/// Groups rows by topic and keeps their order.
fn by_topic(rows: Vec<OutboxRow>) -> BTreeMap<String, Vec<OutboxRow>> {
    let mut topics: BTreeMap<String, Vec<OutboxRow>> = BTreeMap::new();
    for row in rows {
        topics.entry(row.topic.clone()).or_default().push(row);
    }
    topics
}
