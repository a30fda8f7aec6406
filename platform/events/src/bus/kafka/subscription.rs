//! A member of a consumer group. It polls only inside `next`, so partitions are assigned and revoked only there.

use std::{
    collections::BTreeMap,
    mem,
    ops::Deref,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::FutureExt;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, RebalanceProtocol, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use runtime::deadlines::OFFSET_COMMIT;

use super::{
    blocking,
    client::Settings,
    closing::{BackgroundClose, with_timeout},
    is_missing_topic,
    membership::Membership,
    progress::{self, Progress},
    reader::{ReadOutcome, Reader},
    record::{delivery, record_error},
    topics::Topics,
};
use crate::{BusError, Delivery, Position, Subscription};

/// The most messages that one `next` returns.
const FETCH: usize = 100;
/// The interval at which an idle member compares its offsets with the ends of its partitions.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// The retries of a commit during a rebalance.
const REBALANCE_RETRIES: u32 = 50;
const REBALANCE_RETRY: Duration = Duration::from_millis(100);
/// How long a member that leaves waits for its assignment. A member that gets no partitions hears nothing.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(2);
const ASSIGNMENT_POLL: Duration = Duration::from_millis(5);

/// Leaves its group on drop, even during a rebalance.
pub(super) struct GroupMember(StreamConsumer<Membership>);

impl Deref for GroupMember {
    type Target = StreamConsumer<Membership>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for GroupMember {
    /// Closing the client is not enough. librdkafka 2.12 closes a member without partitions without leaving the group,
    /// so the group waits until the member's session times out; and a response at that moment crashes this process with
    /// SIGSEGV (in
    /// `rd_kafka_cgrp_handle_LeaveGroup`, fixed in 2.14.2). `unsubscribe` leaves the group, but is postponed during a rebalance.
    fn drop(&mut self) {
        let (rebalances, since) = (self.context().rebalances(), Instant::now());
        self.unsubscribe();
        let has_joined = !matches!(self.rebalance_protocol(), RebalanceProtocol::None);
        if has_joined && self.assignment().is_ok_and(|held| held.count() == 0) {
            while self.context().rebalances() == rebalances && since.elapsed() < ASSIGNMENT_TIMEOUT {
                // Only a member that polls gets its assignment. Received messages are discarded.
                drop(self.recv().now_or_never());
                thread::sleep(ASSIGNMENT_POLL);
            }
            self.unsubscribe();
        }
    }
}

pub(super) struct KafkaSubscription {
    member: Arc<BackgroundClose<GroupMember>>,
    settings: Settings,
    topics: Arc<Topics>,
    /// On the wire.
    topic: String,
    /// The committed offset of each assigned partition from which this member has received a message.
    committed: BTreeMap<u32, u64>,
    /// The offset of the next record of the same partitions.
    next: BTreeMap<u32, u64>,
    /// The partitions with undelivered records at the last check.
    lagging: Vec<Progress>,
    /// Messages received from librdkafka that `next` has not returned yet.
    buffered: Vec<Delivery>,
}

impl KafkaSubscription {
    pub(super) fn join(settings: &Settings, topics: Arc<Topics>, group: &str, topic: String) -> Result<Self, BusError> {
        let context = Membership::new(settings.log().clone());
        let member: StreamConsumer<Membership> = settings.member(group).create_with_context(context)?;
        member.subscribe(&[&topic])?;
        Ok(Self {
            member: Arc::new(BackgroundClose::new(GroupMember(member))),
            settings: settings.clone(),
            topics,
            topic,
            committed: BTreeMap::new(),
            next: BTreeMap::new(),
            lagging: Vec::new(),
            buffered: Vec::new(),
        })
    }

    /// Buffers a message. Call this before the next await, or cancelling `next` loses the message.
    fn buffer(&mut self, delivery: Delivery) {
        let Position { partition, offset } = delivery.position;
        // A lower offset than before means that the topic was deleted and created again.
        let committed = self.committed.entry(partition).or_insert(offset);
        *committed = offset.min(*committed);
        self.next.insert(partition, offset + 1);
        self.buffered.push(delivery);
    }

    /// Forgets the partitions that now belong to other members.
    fn drop_revoked(&mut self) {
        for partition in self.member.context().take_revoked() {
            self.committed.remove(&partition);
            self.next.remove(&partition);
            self.buffered
                .retain(|delivery| delivery.position.partition != partition);
        }
    }

    /// Fails if an error ends the subscription. librdkafka recovers from most errors by itself.
    fn check_error(&self, error: &KafkaError) -> Result<(), BusError> {
        if is_missing_topic(error) {
            self.topics.mark_missing(&self.topic);
        }
        if is_transient(error) {
            return Ok(());
        }
        Err(BusError::new(format!("topic {}: {error}", self.topic)))
    }

    async fn progress(&self) -> Result<Vec<Progress>, BusError> {
        let (member, topic, known) = (self.member.clone(), self.topic.clone(), self.next.clone());
        blocking(move || progress::of(&member, &topic, &known)).await?
    }

    /// Skips an unreadable record. librdkafka does not say which one, so this checks the next one of each partition.
    async fn skip_unreadable(&mut self, error: &KafkaError) -> Result<(), BusError> {
        let mut skipped = false;
        for progress in self.progress().await? {
            if progress.is_lagging() {
                skipped |= self.inspect(progress).await? == NextRecord::Unreadable;
            }
        }
        if skipped {
            return Ok(());
        }
        // Another client can read all of them, so a new member can, too.
        Err(BusError::new(format!("topic {}: {error}", self.topic)))
    }

    /// Reads the next record of a partition with another client. Buffers placeholders for unreadable records and skips
    /// them.
    async fn inspect(&mut self, progress: Progress) -> Result<NextRecord, BusError> {
        let Progress { partition, next, .. } = progress;
        let (settings, topic) = (self.settings.clone(), self.topic.clone());
        let outcomes = blocking(move || Reader::new(&settings, &topic)?.read(partition, next, FETCH)).await??;
        let mut result = NextRecord::Missing;
        for outcome in outcomes {
            match outcome {
                ReadOutcome::Unreadable(delivery) => {
                    self.buffer(delivery);
                    result = NextRecord::Unreadable;
                }
                ReadOutcome::Record(_) if result == NextRecord::Missing => result = NextRecord::Readable,
                ReadOutcome::Record(_) | ReadOutcome::End => {}
            }
        }
        if result == NextRecord::Unreadable {
            // The placeholders are buffered already, so cancelling this await does not lose them.
            let next = self.next.get(&partition).copied().unwrap_or(next);
            let (member, topic) = (self.member.clone(), self.topic.clone());
            blocking(move || progress::seek(&member, &topic, partition, next)).await??;
        }
        Ok(result)
    }

    /// Whether this member has received all records. A record that was already missing at the last check is read with
    /// another client, because librdkafka does not report every error that keeps it from reading.
    async fn is_caught_up(&mut self) -> Result<bool, BusError> {
        let progress = match self.progress().await {
            Ok(progress) => progress,
            Err(error) => {
                tracing::debug!(%error, "the lag of the group is not known");
                return Ok(false);
            }
        };
        let lagging: Vec<_> = progress.into_iter().filter(Progress::is_lagging).collect();
        let before = mem::replace(&mut self.lagging, lagging.clone());
        for progress in lagging.iter().copied() {
            let is_stuck = |other: &Progress| (other.partition, other.next) == (progress.partition, progress.next);
            if !before.iter().any(is_stuck) {
                continue;
            }
            match self.inspect(progress).await? {
                NextRecord::Unreadable => {}
                // The last offsets are markers of transactions, which are never delivered.
                NextRecord::Missing => {
                    self.next.insert(progress.partition, progress.end);
                }
                NextRecord::Readable => {
                    let Progress { partition, next, end } = progress;
                    return Err(BusError::new(format!(
                        "topic {}: partition {partition} has records from {next} to {end} that are not delivered",
                        self.topic
                    )));
                }
            }
        }
        Ok(lagging.is_empty())
    }
}

/// The next record of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextRecord {
    Missing,
    Readable,
    /// The member has skipped it.
    Unreadable,
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<Vec<Delivery>, BusError> {
        let mut check_at = Instant::now() + PROGRESS_INTERVAL;
        loop {
            let member = self.member.clone();
            let received = if self.buffered.is_empty() {
                // `recv` is cancel safe: a timeout loses no message.
                tokio::time::timeout_at(check_at.into(), member.recv()).await.ok()
            } else {
                member.recv().now_or_never()
            };
            // First, because the partition of this message may have been revoked and assigned again.
            self.drop_revoked();
            match received {
                Some(Ok(record)) => self.buffer(delivery(&record)),
                Some(Err(error)) if record_error(&error).is_some() => self.skip_unreadable(&error).await?,
                Some(Err(error)) => self.check_error(&error)?,
                None if !self.buffered.is_empty() => return Ok(mem::take(&mut self.buffered)),
                None => {
                    if self.is_caught_up().await? {
                        return Ok(Vec::new());
                    }
                    check_at = Instant::now() + PROGRESS_INTERVAL;
                }
            }
            if self.buffered.len() >= FETCH {
                return Ok(mem::take(&mut self.buffered));
            }
        }
    }

    async fn commit(&mut self, done: &[Position]) -> Result<(), BusError> {
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        let mut revoked = Vec::new();
        for Position { partition, offset } in done {
            match self.committed.get(partition) {
                None => revoked.push(*partition),
                Some(before) if offset + 1 > *before => {
                    let next = next.entry(*partition).or_default();
                    *next = (*next).max(offset + 1);
                }
                Some(_) => {}
            }
        }
        if !next.is_empty() {
            let (member, topic, offsets) = (self.member.clone(), self.topic.clone(), next.clone());
            // The work owns its reference to the member. If it is the last one, the member is closed on that thread.
            let committed = blocking(move || with_timeout(OFFSET_COMMIT, move || commit(&member, &topic, &offsets)));
            committed.await?.unwrap_or_else(|| {
                let text = format!(
                    "topic {}: no broker took the offsets within {OFFSET_COMMIT:?}",
                    self.topic
                );
                Err(BusError::new(text))
            })?;
            self.committed.extend(next);
        }
        if revoked.is_empty() {
            return Ok(());
        }
        Err(BusError::new(format!(
            "topic {}: partitions {revoked:?} are no longer assigned to this member",
            self.topic
        )))
    }
}

/// Whether librdkafka recovers from this error by itself.
fn is_transient(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageConsumption(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::NetworkException
                | RDKafkaErrorCode::PollExceeded
        )
    )
}

/// Commits the offsets of the next messages. Retries during a rebalance: partitions cannot be revoked before this
/// member polls again. The broker refuses commits of former members; `assignment_lost` tells so a little earlier.
fn commit(member: &GroupMember, topic: &str, next: &BTreeMap<u32, u64>) -> Result<(), BusError> {
    let mut offsets = TopicPartitionList::with_capacity(next.len());
    for (partition, offset) in next {
        let partition = i32::try_from(*partition).map_err(BusError::new)?;
        let offset = Offset::Offset(i64::try_from(*offset).map_err(BusError::new)?);
        offsets.add_partition_offset(topic, partition, offset)?;
    }
    let mut retries = REBALANCE_RETRIES;
    loop {
        if member.assignment_lost() {
            return Err(BusError::new(format!(
                "topic {topic}: the group has taken this member's partitions away"
            )));
        }
        match member.commit(&offsets, CommitMode::Sync) {
            Err(error) if is_rebalance(&error) && retries > 0 => {
                retries -= 1;
                thread::sleep(REBALANCE_RETRY);
            }
            committed => return committed.map_err(|error| BusError::new(format!("topic {topic}: {error}"))),
        }
    }
}

fn is_rebalance(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration)
    )
}
