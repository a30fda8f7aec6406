//! Dead letters: events that a group could not apply, parked with the reason, and sent through again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{BusError, Delivery, EventBus, LookedAt, Message, Signatures, message::ID};

/// How the headers begin that are about letters.
const OF_LETTERS: &str = "dlq-";
const REASON: &str = "dlq-reason";
const PARKED_AT: &str = "dlq-parked-at";
const ORIGIN: &str = "dlq-origin";
/// On a letter: the event is not whole, or neither it nor its headers about letters are signed with the key of events. The id
/// in it may be that of another event.
const UNPROVEN: &str = "dlq-unproven";
/// On a message that was sent through again: the only group that is to look at it.
const FOR_GROUP: &str = "dlq-for-group";
/// On a message that was sent through again, and on the note of it: how often it was.
const REDRIVES: &str = "dlq-redrives";
/// On a dead-letter topic: the letter with this id was sent through again.
const REDRIVEN: &str = "dlq-redriven";

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
    /// The event's id; for a message without a proper one, and for one that nobody who has the key of events has signed, its
    /// place as `topic/partition/offset`.
    pub id: String,
    pub group: String,
    pub reason: String,
    /// RFC 3339.
    pub parked_at: String,
    /// Where it stood: `topic/partition/offset`.
    pub origin: String,
    /// Whether somebody with the key of events wrote this letter; of a bus without a key it is not known, and true.
    pub proven: bool,
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
        let origin = place(topic, delivery);
        let letter = enclose(&delivery.message, topic, self.bus.signatures())
            .with_header(REASON, reason.chars().take(MAX_REASON).collect::<String>())
            .with_header(PARKED_AT, now.to_string())
            .with_header(ORIGIN, origin);
        self.publish(&dead_letter_topic(topic, group), letter).await
    }

    async fn publish(&self, topic: &str, letter: Message) -> Result<(), BusError> {
        let letter = self.bus.signatures().sign_letter(topic, letter);
        self.bus.publish(topic, vec![letter]).await
    }

    /// Whether a message is for this group: one that was sent through again is for the group that had parked it.
    pub(crate) fn is_for(message: &Message, group: &str) -> bool {
        message.header(FOR_GROUP).is_none_or(|only| only == group)
    }

    /// What a group has parked and nobody has sent through again, oldest first.
    pub async fn list(&self, topic: &str, group: &str) -> Result<Vec<Parked>, BusError> {
        Ok(self.look_at(topic, group).await?.0)
    }

    /// The same, and how far that was looked at.
    pub async fn look_at(&self, topic: &str, group: &str) -> Result<(Vec<Parked>, LookedAt), BusError> {
        let own_topic = dead_letter_topic(topic, group);
        let all = self.bus.read_all(&own_topic).await?;
        let looked_at = LookedAt {
            group: group.to_owned(),
            // A topic of letters has one partition.
            next_letter: all.last().map_or(0, |last| last.position.offset.saturating_add(1)),
        };
        let (notes, letters): (Vec<_>, Vec<_>) = all.into_iter().partition(|Delivery { message, .. }| {
            message.header(REDRIVEN).is_some() && message.header(ORIGIN).is_none()
        });
        let signatures = self.bus.signatures();
        let mut sent_again: BTreeMap<(&str, bool), u32> = BTreeMap::new();
        for Delivery { message: note, .. } in &notes {
            let id = note.header(REDRIVEN).unwrap_or_default();
            let proven = signatures.knows_letter(&own_topic, note);
            // What anybody may have written closes nothing but letters of which that is true as well.
            for of_letter in [proven, false] {
                let sent = sent_again.entry((id, of_letter)).or_default();
                *sent = redrives(note).max(*sent);
            }
        }
        let mut seen = BTreeSet::new();
        let open = letters
            .into_iter()
            .map(|delivery| Parked::new(group, &own_topic, delivery, signatures))
            .filter(|letter| {
                // A letter is closed by the note of a later send. One that came back counts that send, and stays open even
                // when it was parked before the note of it was written.
                let sent = sent_again.get(&(letter.id.as_str(), letter.proven));
                let is_open = sent.is_none_or(|sent| redrives(&letter.message) >= *sent);
                is_open && seen.insert((letter.id.clone(), letter.proven))
            });
        Ok((open.collect(), looked_at))
    }

    /// Sends a parked event through its group again. A crash in between sends it twice, which the group's inbox absorbs.
    pub async fn redrive(&self, topic: &str, letter: &Parked) -> Result<(), BusError> {
        let times = redrives(&letter.message).saturating_add(1).to_string();
        let mut again = letter
            .message
            .clone()
            .with_header(FOR_GROUP, &letter.group)
            .with_header(REDRIVES, &times);
        again.headers.retain(|(name, _)| {
            ![REASON, PARKED_AT, ORIGIN, UNPROVEN, Signatures::of_letter()].contains(&name.as_str())
        });
        // What is said of it here is signed as well, for the next letter, if it is parked again.
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

/// Signs what was written on a topic before there was a key.
pub(crate) fn adopt(signatures: &Signatures, topic: &str, message: Message) -> Message {
    let origin = message.header(ORIGIN).and_then(|place| place.split('/').next());
    match origin.map(str::to_owned) {
        // It was not ours when it was parked.
        Some(_) if message.header(UNPROVEN).is_some() => signatures.sign_letter(topic, message),
        // The event in it comes from another topic, and goes back there when it is sent through again.
        Some(origin) => signatures.sign_letter(topic, signatures.sign(&origin, message)),
        None if message.header(REDRIVEN).is_some() => signatures.sign_letter(topic, message),
        // As it was sent through again.
        None if message.header(FOR_GROUP).is_some() => signatures.sign_letter(topic, signatures.sign(topic, message)),
        None => signatures.sign(topic, message),
    }
}

/// Where a message stands, as `topic/partition/offset`.
fn place(topic: &str, delivery: &Delivery) -> String {
    let position = delivery.position;
    format!("{topic}/{}/{}", position.partition, position.offset)
}

/// The event as a letter holds it. The letter will be signed, so it repeats headers about letters only if they are proven to be
/// ours. What is not ours, or not whole, is marked.
fn enclose(event: &Message, topic: &str, signatures: &Signatures) -> Message {
    let is_about_letters = |name: &str| name.starts_with(OF_LETTERS);
    let is_redriven = event.headers.iter().any(|(name, _)| is_about_letters(name));
    // Whoever redrives an event with the key signs those headers.
    let is_proven = signatures.knows_letter(topic, event);
    let rest = rest_of_large(event);
    let is_ours = rest.is_none() && signatures.check(topic, event).is_ok() && (is_proven || !is_redriven);
    let mut enclosed = rest.unwrap_or_else(|| event.clone());
    enclosed
        .headers
        .retain(|(name, _)| !is_about_letters(name) || (is_proven && [FOR_GROUP, REDRIVES].contains(&name.as_str())));
    if is_ours {
        enclosed
    } else {
        enclosed.with_header(UNPROVEN, "true")
    }
}

/// What is parked of a message that is too large to be parked whole beside what a letter says. It can be read where it stood.
fn rest_of_large(message: &Message) -> Option<Message> {
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
        let place = place(own_topic, &delivery);
        let message = delivery.message;
        let header = |name| message.header(name).map(str::to_owned);
        // A letter that cannot be read is one all the same, and so is what somebody else wrote there.
        let unreadable = || message.unreadable().unwrap_or_default().to_owned();
        let origin = header(ORIGIN).unwrap_or(place);
        let proven = signatures.knows_letter(own_topic, &message);
        let id = event_id(&message).filter(|_| message.header(UNPROVEN).is_none());
        Self {
            id: id.unwrap_or(&origin).to_owned(),
            group: group.to_owned(),
            reason: header(REASON).unwrap_or_else(unreadable),
            parked_at: header(PARKED_AT).unwrap_or_default(),
            origin,
            proven,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    #[test]
    fn a_first_key_makes_no_event_ours_that_was_parked_as_none() {
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
            let adopted = adopt(&signatures, topic, message);
            assert_eq!(signatures.check("t", &adopted).is_ok(), is_ours, "{adopted:?}");
            assert!(signatures.knows_letter(topic, &adopted), "{adopted:?}");
        }
    }
}
