//! Dead letters: events that a group could not apply, parked with the reason, and redriven later.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{BusError, Delivery, EventBus, LetterPosition, Message, Signatures, message::ID, signature::LETTER_HEADER};

/// The prefix of all headers of dead letters, notes and redriven events.
const PREFIX: &str = "dlq-";
const REASON: &str = "dlq-reason";
const PARKED_AT: &str = "dlq-parked-at";
const ORIGIN: &str = "dlq-origin";
/// On a letter whose event is truncated or not proven to be ours. Its event id may be forged.
const UNPROVEN: &str = "dlq-unproven";
/// On a redriven event: the only group that applies it.
const FOR_GROUP: &str = "dlq-for-group";
/// On a redriven event, and on the note of its redrive: the number of redrives.
const REDRIVES: &str = "dlq-redrives";
/// On a note in a dead-letter topic: the id of the letter that was redriven.
const REDRIVEN: &str = "dlq-redriven";

/// The longest reason, and the longest key of a truncated message, in characters.
const MAX_REASON: usize = 2_000;
/// The largest message that is parked whole: key, headers and value in bytes. A bus takes 4 MiB; the rest is for the
/// headers of the letter.
const MAX_PARKED: usize = (4 << 20) - (64 << 10);

/// The topic of a group's dead letters.
pub fn dead_letter_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.dlq")
}

/// A parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The event's id; the origin if the message has no valid id, or is not proven to be ours.
    pub id: String,
    pub group: String,
    pub reason: String,
    /// RFC 3339.
    pub parked_at: String,
    /// The position of the event: `topic/partition/offset`.
    pub origin: String,
    /// Whether this letter is signed with the key of events. Always true on a bus without a key.
    pub authentic: bool,
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

    /// Ensures the topic of a group's dead letters.
    pub(crate) async fn prepare(&self, topic: &str, group: &str) -> Result<(), BusError> {
        self.bus.ensure_topic(&dead_letter_topic(topic, group), 1).await
    }

    /// Parks a message. After a crash a message may be parked twice; `list` shows it once.
    pub(crate) async fn park(
        &self,
        topic: &str,
        group: &str,
        delivery: &Delivery,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), BusError> {
        let origin = origin(topic, delivery);
        let letter = to_letter(&delivery.message, topic, self.bus.signatures())
            .with_header(REASON, reason.chars().take(MAX_REASON).collect::<String>())
            .with_header(PARKED_AT, now.to_string())
            .with_header(ORIGIN, origin);
        self.publish(&dead_letter_topic(topic, group), letter).await
    }

    async fn publish(&self, topic: &str, letter: Message) -> Result<(), BusError> {
        let letter = self.bus.signatures().sign_letter(topic, letter);
        self.bus.publish(topic, vec![letter]).await
    }

    /// Whether a message is for this group. A redriven event is only for the group that parked it.
    pub(crate) fn is_for(message: &Message, group: &str) -> bool {
        message.header(FOR_GROUP).is_none_or(|only| only == group)
    }

    /// The open dead letters of a group, oldest first: those that were not redriven, or came back after it.
    pub async fn list(&self, topic: &str, group: &str) -> Result<Vec<Parked>, BusError> {
        Ok(self.list_with_position(topic, group).await?.0)
    }

    /// Like [`Self::list`], with the position up to which the dead letters were read.
    pub async fn list_with_position(
        &self,
        topic: &str,
        group: &str,
    ) -> Result<(Vec<Parked>, LetterPosition), BusError> {
        let own_topic = dead_letter_topic(topic, group);
        let all = self.bus.read_all(&own_topic).await?;
        let position = LetterPosition {
            group: group.to_owned(),
            // A dead-letter topic has one partition.
            next_offset: all.last().map_or(0, |last| last.position.offset.saturating_add(1)),
        };
        let (notes, letters): (Vec<_>, Vec<_>) = all.into_iter().partition(|Delivery { message, .. }| {
            message.header(REDRIVEN).is_some() && message.header(ORIGIN).is_none()
        });
        let signatures = self.bus.signatures();
        // The redrives of a letter, by its id and whether the letter is authentic.
        let mut redriven: BTreeMap<(&str, bool), u32> = BTreeMap::new();
        for Delivery { message: note, .. } in &notes {
            let id = note.header(REDRIVEN).unwrap_or_default();
            let authentic = signatures.is_authentic_letter(&own_topic, note);
            // A note without a valid signature closes only letters without one.
            for of_letter in [authentic, false] {
                let count = redriven.entry((id, of_letter)).or_default();
                *count = redrives(note).max(*count);
            }
        }
        let mut seen = BTreeSet::new();
        let open = letters
            .into_iter()
            .map(|delivery| Parked::new(group, &own_topic, delivery, signatures))
            .filter(|letter| {
                // A note closes letters with fewer redrives than its own count. A letter that came back has the same
                // count, and stays open even if it was parked before the note was written.
                let latest = redriven.get(&(letter.id.as_str(), letter.authentic));
                let is_open = latest.is_none_or(|count| redrives(&letter.message) >= *count);
                is_open && seen.insert((letter.id.clone(), letter.authentic))
            });
        Ok((open.collect(), position))
    }

    /// Publishes a parked event to its group again. A crash may lead to a second redrive, which the inbox absorbs.
    pub async fn redrive(&self, topic: &str, letter: &Parked) -> Result<(), BusError> {
        let times = redrives(&letter.message).saturating_add(1).to_string();
        let mut again = letter
            .message
            .clone()
            .with_header(FOR_GROUP, &letter.group)
            .with_header(REDRIVES, &times);
        again
            .headers
            .retain(|(name, _)| ![REASON, PARKED_AT, ORIGIN, UNPROVEN, LETTER_HEADER].contains(&name.as_str()));
        // Signs the `dlq-` headers, too: the next letter, if the event is parked again, repeats only proven ones.
        self.publish(topic, again).await?;
        let headers = vec![(REDRIVEN.to_owned(), letter.id.clone()), (REDRIVES.to_owned(), times)];
        let note = Message {
            key: letter.message.key.clone(),
            headers,
            value: bytes::Bytes::new(),
        };
        self.publish(&dead_letter_topic(topic, &letter.group), note).await
    }
}

/// Signs a message of this topic that was written before there was a key.
pub(crate) fn sign_existing(signatures: &Signatures, topic: &str, message: Message) -> Message {
    let origin = message.header(ORIGIN).and_then(|place| place.split('/').next());
    match origin.map(str::to_owned) {
        // The event was not ours when it was parked, so only the letter is signed.
        Some(_) if message.header(UNPROVEN).is_some() => signatures.sign_letter(topic, message),
        // The event is signed for its own topic, to which a redrive publishes it.
        Some(origin) => signatures.sign_letter(topic, signatures.sign(&origin, message)),
        None if message.header(REDRIVEN).is_some() => signatures.sign_letter(topic, message),
        // A redriven event.
        None if message.header(FOR_GROUP).is_some() => signatures.sign_letter(topic, signatures.sign(topic, message)),
        None => signatures.sign(topic, message),
    }
}

/// The position of a message as `topic/partition/offset`.
fn origin(topic: &str, delivery: &Delivery) -> String {
    let position = delivery.position;
    format!("{topic}/{}/{}", position.partition, position.offset)
}

/// The event as the body of a letter. The letter will be signed, so it repeats `dlq-` headers only if they are proven
/// to be ours. An event that is not ours, or truncated, is marked as unproven.
fn to_letter(event: &Message, topic: &str, signatures: &Signatures) -> Message {
    let is_dlq = |name: &str| name.starts_with(PREFIX);
    let is_redriven = event.headers.iter().any(|(name, _)| is_dlq(name));
    // A redrive with the key signs these headers.
    let is_proven = signatures.is_authentic_letter(topic, event);
    let truncated = truncate_large(event);
    let is_ours = truncated.is_none() && signatures.check(topic, event).is_ok() && (is_proven || !is_redriven);
    let mut letter = truncated.unwrap_or_else(|| event.clone());
    letter
        .headers
        .retain(|(name, _)| !is_dlq(name) || (is_proven && [FOR_GROUP, REDRIVES].contains(&name.as_str())));
    if is_ours {
        letter
    } else {
        letter.with_header(UNPROVEN, "true")
    }
}

/// The key of a message that is too large to be parked; `None` if it fits. The whole message can be read at its origin.
fn truncate_large(message: &Message) -> Option<Message> {
    let headers = message.headers.iter().map(|(name, value)| name.len() + value.len());
    let size = message.key.len() + message.value.len() + headers.sum::<usize>();
    (size > MAX_PARKED).then(|| Message {
        key: message.key.chars().take(MAX_REASON).collect(),
        headers: Vec::new(),
        value: bytes::Bytes::new(),
    })
}

impl Parked {
    fn new(group: &str, own_topic: &str, delivery: Delivery, signatures: &Signatures) -> Self {
        let own_position = origin(own_topic, &delivery);
        let message = delivery.message;
        let header = |name| message.header(name).map(str::to_owned);
        // Unreadable or forged letters are listed, too.
        let unreadable = || message.unreadable().unwrap_or_default().to_owned();
        let origin = header(ORIGIN).unwrap_or(own_position);
        let authentic = signatures.is_authentic_letter(own_topic, &message);
        let id = event_id(&message).filter(|_| message.header(UNPROVEN).is_none());
        Self {
            id: id.unwrap_or(&origin).to_owned(),
            group: group.to_owned(),
            reason: header(REASON).unwrap_or_else(unreadable),
            parked_at: header(PARKED_AT).unwrap_or_default(),
            origin,
            authentic,
            message,
        }
    }
}

/// The number of redrives of a message.
fn redrives(message: &Message) -> u32 {
    message
        .header(REDRIVES)
        .and_then(|times| times.parse().ok())
        .unwrap_or(0)
}

/// The event id, if it is a valid one. Two messages with the same invalid id are two letters.
fn event_id(message: &Message) -> Option<&str> {
    message.header(ID).filter(|id| Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    #[test]
    fn signing_an_old_log_does_not_sign_events_that_were_parked_as_unproven() {
        let key = SigningKey::new(b"a key of events, of more than 32 bytes").unwrap();
        let signatures = Signatures::new("", key, Vec::new());
        let event = Message {
            key: "k".to_owned(),
            headers: Vec::new(),
            value: "{}".into(),
        };
        let letter = event.clone().with_header(ORIGIN, "t/0/7");
        let again = event.with_header(FOR_GROUP, "g").with_header(REDRIVES, "1");
        for (message, topic, is_ours) in [
            (letter.clone(), "t.g.dlq", true),
            (letter.with_header(UNPROVEN, "true"), "t.g.dlq", false),
            (again, "t", true),
        ] {
            let adopted = sign_existing(&signatures, topic, message);
            assert_eq!(signatures.check("t", &adopted).is_ok(), is_ours, "{adopted:?}");
            assert!(signatures.is_authentic_letter(topic, &adopted), "{adopted:?}");
        }
    }
}
