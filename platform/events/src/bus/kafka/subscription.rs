//! A member of a group: it polls, so that partitions come and go, only while somebody waits for its next messages.

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
    closing::{Closing, bounded},
    is_missing_topic,
    membership::Membership,
    progress::{self, Progress},
    reader::{Found, Reader},
    record::{defect, delivery},
    topics::Topics,
};
use crate::{BusError, Delivery, Position, Subscription};

/// Messages in one delivery, at most.
const FETCH: usize = 100;
/// How often a member to which nothing comes looks whether there is something for it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a group may be in the middle of a rebalance before a commit is given up.
const REBALANCE_RETRIES: u32 = 50;
const REBALANCE_RETRY: Duration = Duration::from_millis(100);
/// How long a member that goes waits to hear what its share is. A group with fewer partitions than members says nothing.
const SHARING_LIMIT: Duration = Duration::from_secs(2);
const SHARING_POLL: Duration = Duration::from_millis(5);

/// Leaves its group when it is dropped, whatever the group is doing.
pub(super) struct Member(StreamConsumer<Membership>);

impl Deref for Member {
    type Target = StreamConsumer<Membership>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Member {
    /// To close it is not enough: librdkafka 2.12 closes a member that holds nothing without leaving, so that the group waits for
    /// it until its session is over; and an answer that comes to it at that moment ends this process with SIGSEGV (in
    /// `rd_kafka_cgrp_handle_LeaveGroup`; mended in 2.14.2). An unsubscription leaves, but is put off while the group shares out
    /// its partitions.
    fn drop(&mut self) {
        let (shares, since) = (self.context().shares(), Instant::now());
        self.unsubscribe();
        let has_joined = !matches!(self.rebalance_protocol(), RebalanceProtocol::None);
        if has_joined && self.assignment().is_ok_and(|held| held.count() == 0) {
            while self.context().shares() == shares && since.elapsed() < SHARING_LIMIT {
                // A share comes only to who polls. Messages are nobody's any more.
                drop(self.recv().now_or_never());
                thread::sleep(SHARING_POLL);
            }
            self.unsubscribe();
        }
    }
}

pub(super) struct KafkaSubscription {
    member: Arc<Closing<Member>>,
    settings: Settings,
    topics: Arc<Topics>,
    /// On the wire.
    topic: String,
    /// Of each partition of which a message was delivered since it was given to this member: the offset up to which all is
    /// done with, by us or by the one before us.
    done: BTreeMap<u32, u64>,
    /// Of the same partitions: the offset of the next record.
    next: BTreeMap<u32, u64>,
    /// What there was for this member, and did not come, when it looked for that.
    overdue: Vec<Progress>,
    /// Taken from librdkafka, and not returned yet.
    taken: Vec<Delivery>,
}

impl KafkaSubscription {
    pub(super) fn join(settings: &Settings, topics: Arc<Topics>, group: &str, topic: String) -> Result<Self, BusError> {
        let context = Membership::new(settings.log().clone());
        let member: StreamConsumer<Membership> = settings.member(group).create_with_context(context)?;
        member.subscribe(&[&topic])?;
        Ok(Self {
            member: Arc::new(Closing::new(Member(member))),
            settings: settings.clone(),
            topics,
            topic,
            done: BTreeMap::new(),
            next: BTreeMap::new(),
            overdue: Vec::new(),
            taken: Vec::new(),
        })
    }

    /// Keeps a message. It is the first thing that happens to one that librdkafka gave.
    fn take(&mut self, delivery: Delivery) {
        let Position { partition, offset } = delivery.position;
        // The first one since the partition was given to us; or it has begun anew, as a topic that was made again does.
        let done = self.done.entry(partition).or_insert(offset);
        *done = offset.min(*done);
        self.next.insert(partition, offset + 1);
        self.taken.push(delivery);
    }

    /// What was given away is for others to do.
    fn drop_what_was_given_away(&mut self) {
        for partition in self.member.context().given_away() {
            self.done.remove(&partition);
            self.next.remove(&partition);
            self.taken.retain(|delivery| delivery.position.partition != partition);
        }
    }

    /// Whether an error ends the subscription. librdkafka goes on by itself after most of them.
    fn judge(&self, error: &KafkaError) -> Result<(), BusError> {
        if is_missing_topic(error) {
            self.topics.forget(&self.topic);
        }
        if passes(error) {
            return Ok(());
        }
        Err(BusError::new(format!("topic {}: {error}", self.topic)))
    }

    /// Where this member is in its partitions.
    async fn progress(&self) -> Result<Vec<Progress>, BusError> {
        let (member, topic, known) = (self.member.clone(), self.topic.clone(), self.next.clone());
        blocking(move || progress::of(&member, &topic, &known)).await?
    }

    /// librdkafka has met a record that cannot be read, and does not say where: it stands in front of it.
    async fn step_over(&mut self, error: &KafkaError) -> Result<(), BusError> {
        let mut found = false;
        for place in self.progress().await? {
            if place.next < place.end {
                found |= !matches!(self.look(place).await?, Ahead::Readable | Ahead::Nothing);
            }
        }
        if found {
            return Ok(());
        }
        // Somebody else can read it. So can the next member.
        Err(BusError::new(format!("topic {}: {error}", self.topic)))
    }

    /// Looks at what is next in a partition, and takes what cannot be read in the place of records.
    async fn look(&mut self, place: Progress) -> Result<Ahead, BusError> {
        let Progress { partition, next, .. } = place;
        let (settings, topic) = (self.settings.clone(), self.topic.clone());
        let found = blocking(move || Reader::new(&settings, &topic)?.look(partition, next, FETCH)).await??;
        let mut ahead = Ahead::Nothing;
        for found in found {
            match found {
                Found::Unreadable(delivery) => {
                    self.take(delivery);
                    ahead = Ahead::Unreadable;
                }
                Found::Record(_) if ahead == Ahead::Nothing => ahead = Ahead::Readable,
                Found::Record(_) | Found::End => {}
            }
        }
        if ahead == Ahead::Unreadable {
            // They are taken by now: they are not lost when this wait is given up.
            let next = self.next.get(&partition).copied().unwrap_or(next);
            let (member, topic) = (self.member.clone(), self.topic.clone());
            blocking(move || progress::go_on_at(&member, &topic, partition, next)).await??;
        }
        Ok(ahead)
    }

    /// Whether this member was given all that there is for it. What has been there for it since the last look and did not come
    /// is looked at by another client: librdkafka does not tell everything that keeps it from reading.
    async fn is_done(&mut self) -> Result<bool, BusError> {
        let progress = match self.progress().await {
            Ok(progress) => progress,
            Err(error) => {
                tracing::debug!(%error, "how far there is to go is not known");
                return Ok(false);
            }
        };
        let ahead: Vec<_> = progress.into_iter().filter(|place| place.next < place.end).collect();
        let before = mem::replace(&mut self.overdue, ahead.clone());
        for place in ahead.iter().copied() {
            let has_waited = |other: &Progress| (other.partition, other.next) == (place.partition, place.next);
            if !before.iter().any(has_waited) {
                continue;
            }
            match self.look(place).await? {
                Ahead::Unreadable => {}
                // Markers of transactions stand there, which are nobody's.
                Ahead::Nothing => {
                    self.next.insert(place.partition, place.end);
                }
                Ahead::Readable => {
                    let Progress { partition, next, end } = place;
                    return Err(BusError::new(format!(
                        "topic {}: partition {partition} has records from {next} to {end} that do not come",
                        self.topic
                    )));
                }
            }
        }
        Ok(ahead.is_empty())
    }
}

/// What is next in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    Nothing,
    Readable,
    /// It was taken, and the member goes on behind it.
    Unreadable,
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<Vec<Delivery>, BusError> {
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            let member = self.member.clone();
            let received = if self.taken.is_empty() {
                // A wait that is given up costs no message.
                tokio::time::timeout_at(look_at.into(), member.recv()).await.ok()
            } else {
                member.recv().now_or_never()
            };
            // Partitions go before any message comes that was received after that.
            self.drop_what_was_given_away();
            match received {
                Some(Ok(record)) => self.take(delivery(&record)),
                Some(Err(error)) if defect(&error).is_some() => self.step_over(&error).await?,
                Some(Err(error)) => self.judge(&error)?,
                None if !self.taken.is_empty() => return Ok(mem::take(&mut self.taken)),
                None => {
                    if self.is_done().await? {
                        return Ok(Vec::new());
                    }
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
            if self.taken.len() >= FETCH {
                return Ok(mem::take(&mut self.taken));
            }
        }
    }

    async fn commit(&mut self, done: &[Position]) -> Result<(), BusError> {
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        let mut gone = Vec::new();
        for Position { partition, offset } in done {
            match self.done.get(partition) {
                None => gone.push(*partition),
                Some(before) if offset + 1 > *before => {
                    let next = next.entry(*partition).or_default();
                    *next = (*next).max(offset + 1);
                }
                Some(_) => {}
            }
        }
        if !next.is_empty() {
            let (member, topic, offsets) = (self.member.clone(), self.topic.clone(), next.clone());
            // The member goes with the work: who waits for that waits for the end of the member, too, if this was the last of it.
            let committed = blocking(move || bounded(OFFSET_COMMIT, move || commit(&member, &topic, &offsets)));
            committed.await?.unwrap_or_else(|| {
                let text = format!("topic {}: nobody took the offsets within {OFFSET_COMMIT:?}", self.topic);
                Err(BusError::new(text))
            })?;
            self.done.extend(next);
        }
        if gone.is_empty() {
            return Ok(());
        }
        Err(BusError::new(format!(
            "topic {}: partitions {gone:?} are no longer this member's",
            self.topic
        )))
    }
}

/// Whether librdkafka or the group mends it without us.
fn passes(error: &KafkaError) -> bool {
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

/// Commits the offsets of the next messages. The broker refuses one who is no longer a member; that we are not is known here
/// a little earlier. While the group is being rebalanced it cannot be done, and what is ours stays ours until we poll.
fn commit(member: &Member, topic: &str, next: &BTreeMap<u32, u64>) -> Result<(), BusError> {
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
