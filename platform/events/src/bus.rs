//! The event bus: topics with partitions, read by consumer groups with committed offsets.

pub mod kafka;
pub mod sqlite;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{Message, Signatures, Topic};

/// The default retention of events.
pub const RETENTION: Duration = Duration::from_hours(7 * 24);

/// A failure of the bus. The operation may be retried. A failed publication may have been stored.
#[derive(Debug, thiserror::Error)]
#[error("the event bus is unavailable")]
pub struct BusError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl BusError {
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// The position of a message in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub partition: u32,
    pub offset: u64,
}

/// A message with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub position: Position,
    pub message: Message,
}

/// The result of [`Erase::erase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseOutcome {
    Erased,
    /// Nothing was removed: a group has not read all messages, or has parked one since its dead letters were read.
    Unread,
    /// Nothing was removed: this log cannot delete single messages. They stay until their retention ends.
    Unsupported,
}

/// How far the dead letters of a group were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterPosition {
    pub group: String,
    /// The offset of the first dead letter that was not read.
    pub next_offset: u64,
}

/// The groups in this process that make no progress although there are messages: the bus fails to let them read, commit
/// or park, it does not deliver what it has, or an event has not been applied for long.
#[derive(Debug, Clone, Default)]
pub struct StalledGroups(Arc<Mutex<BTreeSet<&'static str>>>);

impl StalledGroups {
    pub(crate) fn set(&self, group: &'static str) {
        self.groups().insert(group);
    }

    pub(crate) fn clear(&self, group: &'static str) {
        self.groups().remove(group);
    }

    pub fn is_empty(&self) -> bool {
        self.groups().is_empty()
    }

    pub fn contains(&self, group: &str) -> bool {
        self.groups().contains(group)
    }

    fn groups(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that may support deletion of single messages.
#[async_trait]
pub trait Erase: Send + Sync {
    /// Atomically removes the messages with these keys from the topic and from the dead letters of these groups.
    /// Removes nothing unless each group has read all of them, and has parked none of them at or after
    /// [`LetterPosition::next_offset`]. Other messages keep their positions.
    async fn erase(&self, topic: &str, groups: &[LetterPosition], keys: &[String]) -> Result<EraseOutcome, BusError>;
}

/// A log that is trimmed at its beginning. Topics of dead letters are never trimmed.
#[async_trait]
pub trait Retain: Send + Sync {
    /// The minimum age at which events are removed.
    fn retention(&self) -> Duration;
    /// Removes some or all events that were published before this time and read by all groups of the topic; returns how
    /// many. An event that one group has not read stays, with all later events of its partition.
    async fn trim(&self, topic: Topic, before: Timestamp) -> Result<u64, BusError>;
    /// Whether the topic has an event that was published before this time.
    async fn has_before(&self, topic: Topic, before: Timestamp) -> Result<bool, BusError>;
}

/// A durable log. Messages of one key are delivered in the order of publication, at least once to each group.
#[async_trait]
pub trait EventBus: Erase + Retain {
    /// Creates the topic if it is missing. An existing topic keeps its partitions, or keys would move between them.
    async fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<(), BusError>;
    /// Appends the messages in this order; returns when all of them are durable.
    async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), BusError>;
    /// Joins a group. A new group starts at the beginning of the topic.
    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Subscription>, BusError>;
    /// All messages of a topic, ordered by partition and offset; none for a missing topic.
    async fn read_all(&self, topic: &str) -> Result<Vec<Delivery>, BusError>;
    /// The stalled groups. Consumers maintain this set.
    fn stalled(&self) -> &StalledGroups;
    /// The signatures that relays make and consumers check on this bus.
    fn signatures(&self) -> &Signatures;
    /// Whether the bus answers and no group is stalled: for a readiness probe.
    async fn is_up(&self) -> bool;
}

/// A member of a group.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next messages. Messages of one partition are in order and continue those of the last call. A
    /// record that cannot be read is delivered, too ([`Message::unreadable`]). Returns no messages every few seconds
    /// while this member has received all that there is for it. Cancel safe.
    async fn next(&mut self) -> Result<Vec<Delivery>, BusError>;
    /// Commits these positions: a member that joins later starts behind them.
    async fn commit(&mut self, done: &[Position]) -> Result<(), BusError>;
}
