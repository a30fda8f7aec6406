//! The relay: publishes the rows of an outbox to the bus.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::{join, join_all};
use runtime::{Clock, PointKind, Points, Tasks, Topic, telemetry::chain};
use storage::StoreError;
use tokio::{sync::Notify, time::Instant};

use crate::{
    BusError, EventBus, Outbox,
    outbox::{Fence, OutboxRow},
    retention::trim_periodically,
};

/// The lease on an outbox. The relay extends it after half of that time.
const LEASE: Duration = Duration::from_secs(10);
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
/// recognize them by the event id. A topic that fails backs off, and the others go on. Run only one of the clones.
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

/// The result of publishing one batch.
enum Round {
    /// The batch was full, so there may be more rows.
    Full,
    Done,
    /// Another relay holds the lease.
    NotHolder,
    /// The lease was acquired after the rows were read. Its last holder may have published them meanwhile.
    Acquired,
}

/// What a relay remembers between rounds.
#[derive(Default)]
struct RelayState {
    lease: Option<(Fence, Instant)>,
    /// The topics that are known to exist.
    ensured: BTreeSet<String>,
    /// The topics that failed, with the time of the next attempt and the backoff before it.
    failing: BTreeMap<String, (Instant, Duration)>,
}

impl RelayState {
    /// The failed topics whose backoff is not over.
    fn backing_off(&self) -> BTreeSet<String> {
        let now = Instant::now();
        let backing_off = self.failing.iter().filter(|(_, (until, _))| *until > now);
        backing_off.map(|(topic, _)| topic.clone()).collect()
    }

    /// Forgets failed topics that were read and have no rows: another relay may have published these. Such a topic can
    /// never succeed here, and would keep the relay busy without end.
    fn forget_idle(&mut self, backing_off: &BTreeSet<String>, rows: &BTreeMap<String, Vec<OutboxRow>>) {
        self.failing
            .retain(|topic, _| backing_off.contains(topic) || rows.contains_key(topic));
    }

    /// The time until the next attempt at a failed topic, or `at_most`.
    fn until_retry(&self, at_most: Duration) -> Duration {
        let now = Instant::now();
        let waits = self
            .failing
            .values()
            .map(|(until, _)| until.saturating_duration_since(now));
        waits.min().map_or(at_most, |wait| wait.min(at_most))
    }

    fn back_off(&mut self, topic: &str, error: &BusError) {
        let backoff = match self.failing.get(topic) {
            Some((_, before)) => (*before * 2).min(MAX_BACKOFF),
            None => BACKOFF,
        };
        tracing::warn!(
            topic,
            error = chain(error),
            ?backoff,
            "events could not be published; trying again"
        );
        self.ensured.remove(topic);
        self.failing
            .insert(topic.to_owned(), (Instant::now() + backoff, backoff));
    }
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
                Ok(Round::Done) => state.until_retry(self.poll),
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
                    () = self.wake.0.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                    () = tasks.stopping() => {}
                }
            }
        }
    }

    /// Publishes one batch.
    async fn round(&self, state: &mut RelayState) -> Result<Round, StoreError> {
        let backing_off = state.backing_off();
        let except: Vec<&str> = backing_off.iter().map(String::as_str).collect();
        let rows = self.outbox.pending(self.batch, &except).await?;
        let full = u32::try_from(rows.len()).unwrap_or(u32::MAX) == self.batch;
        let rows = by_topic(rows);
        if !full {
            state.forget_idle(&backing_off, &rows);
        }
        // Checks the lease after this call, because creating a topic may take longer than the lease.
        let topics = self.ensure_topics(rows, state).await;
        if !topics.is_empty() {
            let before = state.lease.map(|(fence, _)| fence);
            let Some(fence) = self.lease(&mut state.lease).await? else {
                return Ok(Round::NotHolder);
            };
            if before != Some(fence) {
                return Ok(Round::Acquired);
            }
            self.publish_all(topics, fence, state).await?;
        }
        Ok(if full { Round::Full } else { Round::Done })
    }

    /// Creates the topics of these rows; returns the rows without those whose topic failed.
    async fn ensure_topics(
        &self,
        rows: BTreeMap<String, Vec<OutboxRow>>,
        state: &mut RelayState,
    ) -> BTreeMap<String, Vec<OutboxRow>> {
        let is_missing = |topic: &&Topic| rows.contains_key(topic.name) && !state.ensured.contains(topic.name);
        let missing: Vec<_> = self.topics.iter().filter(is_missing).collect();
        let ensured = missing
            .into_iter()
            .map(async |topic| (topic.name, self.bus.ensure_topic(topic.name, topic.partitions).await));
        let mut rows = rows;
        for (topic, outcome) in join_all(ensured).await {
            match outcome {
                Ok(()) => {
                    state.ensured.insert(topic.to_owned());
                }
                Err(error) => {
                    state.back_off(topic, &error);
                    rows.remove(topic);
                }
            }
        }
        rows
    }

    /// Publishes the topics concurrently, and marks the rows of the topics that succeeded.
    async fn publish_all(
        &self,
        topics: BTreeMap<String, Vec<OutboxRow>>,
        fence: Fence,
        state: &mut RelayState,
    ) -> Result<(), StoreError> {
        let mut marks = Vec::new();
        let work = topics.into_iter().map(async |(topic, rows)| {
            let rows_of_topic: Vec<i64> = rows.iter().map(|row| row.seq).collect();
            (self.publish(&topic, rows).await, topic, rows_of_topic)
        });
        for (published, topic, rows) in join_all(work).await {
            match published {
                Ok(()) => {
                    state.failing.remove(&topic);
                    marks.extend(rows);
                }
                Err(error) => state.back_off(&topic, &error),
            }
        }
        if !marks.is_empty() {
            let since = Instant::now();
            self.outbox.mark_published(fence, LEASE, &marks).await?;
            state.lease = Some((fence, since));
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_topic_is_retried_until_it_has_no_rows() {
        let (mut state, hour) = (RelayState::default(), Duration::from_hours(1));
        assert_eq!(state.until_retry(hour), hour);
        state.back_off("t", &BusError::new("away"));
        state.back_off("t", &BusError::new("away"));
        assert_eq!(state.until_retry(hour), BACKOFF * 2);
        let backing_off = state.backing_off();
        assert!(backing_off.contains("t"));
        state.forget_idle(&backing_off, &BTreeMap::new());
        assert_eq!(state.until_retry(hour), BACKOFF * 2, "its rows were not asked for");
        tokio::time::advance(BACKOFF * 2).await;
        let backing_off = state.backing_off();
        assert!(backing_off.is_empty());
        state.forget_idle(&backing_off, &BTreeMap::from([("t".to_owned(), Vec::new())]));
        assert_eq!(state.until_retry(hour), Duration::ZERO);
        state.forget_idle(&backing_off, &BTreeMap::new());
        assert_eq!(state.until_retry(hour), hour);
    }
}
