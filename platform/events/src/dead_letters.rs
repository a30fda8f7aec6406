//! Dead letters: events that a group could not apply, parked with the reason, and sent through again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{BusError, Delivery, EventBus, Message};

const REASON: &str = "dlq-reason";
const PARKED_AT: &str = "dlq-parked-at";
const ORIGIN: &str = "dlq-origin";
/// On a message that was sent through again: the only group that is to look at it.
const FOR_GROUP: &str = "dlq-for-group";
/// On a message that was sent through again, and on the note of it: how often it was.
const REDRIVES: &str = "dlq-redrives";
/// On a dead-letter topic: the letter with this id was sent through again.
const REDRIVEN: &str = "dlq-redriven";

const ID: &str = "ce_id";
/// The longest reason that is kept, and the longest key of what is not kept whole, in characters.
const MAX_REASON: usize = 2_000;
/// Key, headers and value of the largest message that is kept whole, in bytes: what is said of it comes on top, and a bus takes
/// 4 MiB.
const MAX_PARKED: usize = (4 << 20) - (64 << 10);

/// Where a group's parked events of a topic are.
pub fn dead_letter_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.dlq")
}

/// A parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The event's id; for a message without a proper one, its place as `topic/partition/offset`.
    pub id: String,
    pub group: String,
    pub reason: String,
    /// RFC 3339.
    pub parked_at: String,
    /// Where it stood: `topic/partition/offset`.
    pub origin: String,
    pub message: Message,
}

/// The dead letters of all groups on one bus.
#[derive(Clone)]
pub struct DeadLetters {
    bus: Arc<dyn EventBus>,
}

impl DeadLetters {
    pub fn new(bus: Arc<dyn EventBus>) -> Self {
        Self { bus }
    }

    /// Makes the topic that a group parks to.
    pub(crate) async fn prepare(&self, topic: &str, group: &str) -> Result<(), BusError> {
        self.bus.ensure_topic(&dead_letter_topic(topic, group), 1).await
    }

    /// Parks a message. After a crash the same one may be parked twice: `list` shows it once.
    pub(crate) async fn park(
        &self,
        topic: &str,
        group: &str,
        delivery: &Delivery,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), BusError> {
        let place = delivery.position;
        let letter = small_enough(delivery.message.clone())
            .with_header(REASON, reason.chars().take(MAX_REASON).collect::<String>())
            .with_header(PARKED_AT, now.to_string())
            .with_header(ORIGIN, format!("{topic}/{}/{}", place.partition, place.offset));
        self.bus.publish(&dead_letter_topic(topic, group), vec![letter]).await
    }

    /// Whether a message is for this group: one that was sent through again is for the group that had parked it.
    pub(crate) fn is_for(message: &Message, group: &str) -> bool {
        message.header(FOR_GROUP).is_none_or(|only| only == group)
    }

    /// What a group has parked and nobody has sent through again, oldest first.
    pub async fn list(&self, topic: &str, group: &str) -> Result<Vec<Parked>, BusError> {
        let all = self.bus.read_all(&dead_letter_topic(topic, group)).await?;
        let (notes, letters): (Vec<_>, Vec<_>) = all
            .into_iter()
            .map(|delivery| delivery.message)
            .partition(|message| message.header(REDRIVEN).is_some());
        let mut sent_again: BTreeMap<&str, u32> = BTreeMap::new();
        for note in &notes {
            let sent = sent_again.entry(note.header(REDRIVEN).unwrap_or_default()).or_default();
            *sent = redrives(note).max(*sent);
        }
        let mut seen = BTreeSet::new();
        let open = letters
            .into_iter()
            .map(|message| Parked::new(group, message))
            .filter(|letter| {
                // A letter is closed by the note of a later send. One that came back counts that send, and stays open even
                // when it was parked before the note of it was written.
                let sent = sent_again.get(letter.id.as_str());
                sent.is_none_or(|sent| redrives(&letter.message) >= *sent) && seen.insert(letter.id.clone())
            });
        Ok(open.collect())
    }

    /// Sends a parked event through its group again. A crash in between sends it twice, which the group's inbox absorbs.
    pub async fn redrive(&self, topic: &str, letter: &Parked) -> Result<(), BusError> {
        let times = (redrives(&letter.message) + 1).to_string();
        let mut again = letter
            .message
            .clone()
            .with_header(FOR_GROUP, &letter.group)
            .with_header(REDRIVES, &times);
        again
            .headers
            .retain(|(name, _)| ![REASON, PARKED_AT, ORIGIN].contains(&name.as_str()));
        self.bus.publish(topic, vec![again]).await?;
        let headers = vec![(REDRIVEN.to_owned(), letter.id.clone()), (REDRIVES.to_owned(), times)];
        let note = Message {
            key: letter.message.key.clone(),
            headers,
            value: bytes::Bytes::new(),
        };
        self.bus
            .publish(&dead_letter_topic(topic, &letter.group), vec![note])
            .await
    }
}

/// Without what is too large to be parked beside what a letter says. It can be read where it stood.
fn small_enough(mut message: Message) -> Message {
    let headers = message.headers.iter().map(|(name, value)| name.len() + value.len());
    if message.key.len() + message.value.len() + headers.sum::<usize>() > MAX_PARKED {
        message = Message {
            key: message.key.chars().take(MAX_REASON).collect(),
            headers: event_id(&message)
                .map(|id| (ID.to_owned(), id.to_owned()))
                .into_iter()
                .collect(),
            value: bytes::Bytes::new(),
        };
    }
    message
}

impl Parked {
    fn new(group: &str, message: Message) -> Self {
        let header = |name| message.header(name).unwrap_or_default().to_owned();
        let (reason, parked_at, origin) = (header(REASON), header(PARKED_AT), header(ORIGIN));
        let id = event_id(&message).map_or_else(|| origin.clone(), str::to_owned);
        Self {
            id,
            group: group.to_owned(),
            reason,
            parked_at,
            origin,
            message,
        }
    }
}

/// How often a message was sent through again.
fn redrives(message: &Message) -> u32 {
    message
        .header(REDRIVES)
        .and_then(|times| times.parse().ok())
        .unwrap_or(0)
}

/// What is no id names nothing: two messages that have the same wrong one are two letters.
fn event_id(message: &Message) -> Option<&str> {
    message.header(ID).filter(|id| Uuid::try_parse(id).is_ok())
}
