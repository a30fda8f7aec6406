//! The event bus: topics with partitions, read by groups that remember how far they came.

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

/// How long a bus keeps events to which nothing else was said.
pub const RETENTION: Duration = Duration::from_hours(7 * 24);

/// Why the bus did not do it. It may do it later; of a publish it is not known whether it did.
#[derive(Debug, thiserror::Error)]
#[error("the event bus is unavailable")]
pub struct BusError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl BusError {
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// Where a message stands in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub partition: u32,
    pub offset: u64,
}

/// A message and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub position: Position,
    pub message: Message,
}

/// What became of messages that were to be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// None of them is there.
    Gone,
    /// A group has not read all of them, or has parked one after its letters were read: nothing was removed.
    Unread,
    /// The log lets no single message go: they stay for as long as it keeps any.
    Kept,
}

/// A group, and how far its dead letters were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedAt {
    pub group: String,
    /// The offset of the first letter that was not read.
    pub next_letter: u64,
}

/// The groups of this process that make no progress while there is something to do: the bus does not let them read, commit or
/// park, it does not give them what it has, or an event cannot be applied for long.
#[derive(Debug, Clone, Default)]
pub struct Stalled(Arc<Mutex<BTreeSet<&'static str>>>);

impl Stalled {
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

/// A log that lets messages go before their time, if it can.
#[async_trait]
pub trait Erase: Send + Sync {
    /// Removes the messages with these keys from the topic, and from the dead letters of these groups, in one step. It removes
    /// nothing unless each group has read all of them and has parked none of them at or after [`LookedAt::next_letter`]. Other
    /// messages keep their places.
    async fn erase(&self, topic: &str, groups: &[LookedAt], keys: &[String]) -> Result<Erased, BusError>;
}

/// A log that is cut back at its beginning. Dead letters are on topics that nobody cuts.
#[async_trait]
pub trait Retain: Send + Sync {
    /// How long it keeps events, at least.
    fn retention(&self) -> Duration;
    /// Removes events that were published before this time and that all groups of the topic have read: some of them, or all;
    /// returns how many. What one group has not read stays, with all that is behind it.
    async fn trim(&self, topic: Topic, before: Timestamp) -> Result<u64, BusError>;
    /// Whether the topic still has an event that was published before this time.
    async fn has_before(&self, topic: Topic, before: Timestamp) -> Result<bool, BusError>;
}

/// A durable log. Messages of one key are delivered in the order of their publication, each at least once to every group.
#[async_trait]
pub trait EventBus: Erase + Retain {
    /// Makes the topic if it is not there. One that is there keeps its partitions, or keys would change theirs.
    async fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<(), BusError>;
    /// Appends the messages in this order; returns when all of them are durable.
    async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), BusError>;
    /// Joins a group. A new group starts at the beginning of the topic.
    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Subscription>, BusError>;
    /// All that is on a topic now, partition by partition in order; nothing for a topic that is not there.
    async fn read_all(&self, topic: &str) -> Result<Vec<Delivery>, BusError>;
    /// Which groups its consumers say are stalled.
    fn stalled(&self) -> &Stalled;
    /// How messages on this bus are signed and checked, by those who publish and consume events.
    fn signatures(&self) -> &Signatures;
    /// Whether the bus answers, and no group is stalled: for a readiness probe.
    async fn is_up(&self) -> bool;
}

/// A member of a group.
#[async_trait]
pub trait Subscription: Send {
    /// The next messages; waits for them. None at all says that this member has been given all that there is for it: that is
    /// said every few seconds while nothing comes. Those of one partition are in order and follow on those of the last call; a
    /// record that cannot be read is one of them, and says so ([`Message::unreadable`]). Safe to drop while it waits.
    async fn next(&mut self) -> Result<Vec<Delivery>, BusError>;
    /// Notes that everything up to and including these positions is done with: a member that joins later starts behind them.
    async fn commit(&mut self, done: &[Position]) -> Result<(), BusError>;
}
