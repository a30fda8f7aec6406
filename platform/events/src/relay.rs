//! The relay: carries the outbox to the bus.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::{join, join_all};
use runtime::{Clock, Kind, Points, Tasks, Topic, telemetry::chain};
use storage::StoreError;
use tokio::{sync::Notify, time::Instant};

use crate::{
    BusError, EventBus, Outbox,
    outbox::{Fence, Pending},
    retention::keep_trimmed,
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

/// Publishes the rows of one outbox, the topics side by side and each in order, and marks them once the bus has them. Only
/// the holder of the lease does so. A crash between the two publishes rows again: consumers tell by the event's id. A topic
/// that cannot be published to waits, and the others go on. Clones are the same relay: one of them runs.
#[derive(Clone)]
pub struct Relay {
    pub outbox: Arc<dyn Outbox>,
    pub bus: Arc<dyn EventBus>,
    /// The topics that it makes sure of. Rows of others go out if somebody else has made their topic.
    pub topics: &'static [Topic],
    pub wake: Wake,
    /// Names this relay in the lease. The same name takes the lease back at once after a restart.
    pub owner: String,
    /// How long a row may wait whose wake-up was lost.
    pub poll: Duration,
    /// Rows that are published at once, at most.
    pub batch: u32,
    /// How long published rows are kept.
    pub retention: Duration,
    pub clock: Clock,
    pub points: Points,
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

/// What a relay knows from one look at the outbox to the next.
#[derive(Default)]
struct Known {
    lease: Option<(Fence, Instant)>,
    /// The topics that were made sure of.
    made: BTreeSet<String>,
    /// The topics that could not be published to, when each is tried again, and after how long.
    failing: BTreeMap<String, (Instant, Duration)>,
}

impl Known {
    /// The topics whose rows wait.
    fn waiting(&self) -> BTreeSet<String> {
        let now = Instant::now();
        let waiting = self.failing.iter().filter(|(_, (until, _))| *until > now);
        waiting.map(|(topic, _)| topic.clone()).collect()
    }

    /// Forgets the topics that were due and have no rows any more, which another relay may have published: nothing would ever
    /// succeed there, and they would be due for ever.
    fn forget_others(&mut self, waiting: &BTreeSet<String>, rows: &BTreeMap<String, Vec<Pending>>) {
        self.failing
            .retain(|topic, _| waiting.contains(topic) || rows.contains_key(topic));
    }

    /// How long it is until the next of them is due, at most so long.
    fn until_due(&self, at_most: Duration) -> Duration {
        let now = Instant::now();
        let waits = self
            .failing
            .values()
            .map(|(until, _)| until.saturating_duration_since(now));
        waits.min().map_or(at_most, |wait| wait.min(at_most))
    }

    fn fails(&mut self, topic: &str, error: &BusError) {
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
        self.made.remove(topic);
        self.failing
            .insert(topic.to_owned(), (Instant::now() + backoff, backoff));
    }
}

impl Relay {
    /// Runs until the tasks are stopping. Whatever fails is tried again.
    pub async fn run(self, tasks: Tasks) {
        // Side by side: to ask a broker what may go takes its time.
        let trim = keep_trimmed(self.bus.as_ref(), self.topics, &self.clock, &tasks);
        join(self.carry(&tasks), trim).await;
    }

    async fn carry(&self, tasks: &Tasks) {
        let mut backoff = BACKOFF;
        // A relay that never runs for long prunes as well: at first, and then every hour.
        let mut pruned: Option<Instant> = None;
        let mut known = Known::default();
        while !tasks.is_stopping() {
            let wait = match self.round(&mut known).await {
                Ok(Round::Full) => Duration::ZERO,
                Ok(Round::Done) => known.until_due(self.poll),
                Ok(Round::NotHolder) => self.poll.min(LEASE_RETRY),
                // Nothing was published, so that nothing is known of an outbox that failed before.
                Ok(Round::Taken) => continue,
                Err(error) => {
                    tracing::warn!(error = chain(&error), ?backoff, "the outbox failed; trying again");
                    known.lease = None;
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
    async fn round(&self, known: &mut Known) -> Result<Round, StoreError> {
        let waiting = known.waiting();
        let except: Vec<&str> = waiting.iter().map(String::as_str).collect();
        let rows = self.outbox.pending(self.batch, &except).await?;
        let full = u32::try_from(rows.len()).unwrap_or(u32::MAX) == self.batch;
        let rows = by_topic(rows);
        if !full {
            known.forget_others(&waiting, &rows);
        }
        // To make a topic may take longer than the lease lasts: the lease is looked at behind it.
        let topics = self.with_topic(rows, known).await;
        if !topics.is_empty() {
            let before = known.lease.map(|(fence, _)| fence);
            let Some(fence) = self.lease(&mut known.lease).await? else {
                return Ok(Round::NotHolder);
            };
            if before != Some(fence) {
                return Ok(Round::Taken);
            }
            self.publish_all(topics, fence, known).await?;
        }
        Ok(if full { Round::Full } else { Round::Done })
    }

    /// Those rows whose topic is there.
    async fn with_topic(
        &self,
        rows: BTreeMap<String, Vec<Pending>>,
        known: &mut Known,
    ) -> BTreeMap<String, Vec<Pending>> {
        let unsure = |topic: &&Topic| rows.contains_key(topic.name) && !known.made.contains(topic.name);
        let unsure: Vec<_> = self.topics.iter().filter(unsure).collect();
        let ensured = unsure
            .into_iter()
            .map(async |topic| (topic.name, self.bus.ensure_topic(topic.name, topic.partitions).await));
        let mut rows = rows;
        for (topic, outcome) in join_all(ensured).await {
            match outcome {
                Ok(()) => {
                    known.made.insert(topic.to_owned());
                }
                Err(error) => {
                    known.fails(topic, &error);
                    rows.remove(topic);
                }
            }
        }
        rows
    }

    /// Publishes the topics side by side, and marks the rows of those that have succeeded.
    async fn publish_all(
        &self,
        topics: BTreeMap<String, Vec<Pending>>,
        fence: Fence,
        known: &mut Known,
    ) -> Result<(), StoreError> {
        let mut marks = Vec::new();
        let work = topics.into_iter().map(async |(topic, rows)| {
            let rows_of_topic: Vec<i64> = rows.iter().map(|row| row.seq).collect();
            (self.publish(&topic, rows).await, topic, rows_of_topic)
        });
        for (published, topic, rows) in join_all(work).await {
            match published {
                Ok(()) => {
                    known.failing.remove(&topic);
                    marks.extend(rows);
                }
                Err(error) => known.fails(&topic, &error),
            }
        }
        if !marks.is_empty() {
            let since = Instant::now();
            self.outbox.mark_published(fence, LEASE, &marks).await?;
            known.lease = Some((fence, since));
        }
        Ok(())
    }

    async fn publish(&self, topic: &str, rows: Vec<Pending>) -> Result<(), BusError> {
        // Here and not before: what an earlier version has put into the outbox is signed as well.
        let signatures = self.bus.signatures();
        let sign = |row: Pending| signatures.sign(topic, row.message);
        let messages = rows.into_iter().map(sign).collect();
        let publish = self.points.enter(Kind::Publish, topic);
        self.bus.publish(topic, messages).await?;
        publish.done();
        Ok(())
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

/// The rows of each topic, in order.
fn by_topic(rows: Vec<Pending>) -> BTreeMap<String, Vec<Pending>> {
    let mut topics: BTreeMap<String, Vec<Pending>> = BTreeMap::new();
    for row in rows {
        topics.entry(row.topic.clone()).or_default().push(row);
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_failed_is_due_until_it_succeeds_or_has_no_rows_any_more() {
        let (mut known, hour) = (Known::default(), Duration::from_hours(1));
        assert_eq!(known.until_due(hour), hour);
        known.fails("t", &BusError::new("away"));
        known.fails("t", &BusError::new("away"));
        assert_eq!(known.until_due(hour), BACKOFF * 2);
        let waiting = known.waiting();
        assert!(waiting.contains("t"));
        known.forget_others(&waiting, &BTreeMap::new());
        assert_eq!(known.until_due(hour), BACKOFF * 2, "its rows were not asked for");
        tokio::time::advance(BACKOFF * 2).await;
        let waiting = known.waiting();
        assert!(waiting.is_empty());
        known.forget_others(&waiting, &BTreeMap::from([("t".to_owned(), Vec::new())]));
        assert_eq!(known.until_due(hour), Duration::ZERO);
        known.forget_others(&waiting, &BTreeMap::new());
        assert_eq!(known.until_due(hour), hour);
    }
}
