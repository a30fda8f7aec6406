//! Proof that an event is ours: an HMAC-SHA256 that only who has the key can make.
//!
//! A relay signs what it publishes, a consumer checks what it reads. Dead letters and the notes on them are signed as well, so
//! that nobody without the key hides one, or says that a group has parked what it has not.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use runtime::config::{WeakKey, strong_key};
use sha2::Sha256;

use crate::Message;

/// On an event: what its relay has signed it with.
const OF_EVENT: &str = "event-signature";
/// On a dead letter, and on a note that one was sent through again.
const OF_LETTER: &str = "dlq-signature";
/// What a consumer reads of an event, beside its key and its value.
const ATTRIBUTES: [&str; 7] = [
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "event_type",
    "traceparent",
    "x-request-id",
];

/// A key that cannot be guessed.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Blanks at its ends are no part of it.
    pub fn new(key: &[u8]) -> Result<Self, WeakKey> {
        // It takes keys of any length.
        Hmac::new_from_slice(strong_key(key)?)
            .map(Self)
            .map_err(|_| WeakKey::TooShort)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Why a message is not taken for an event of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("it is not signed: who wrote it has not shown that they have the key of this shop's events")]
    Unsigned,
    #[error(
        "its signature is wrong: it was made with another key than this shop's events, or for another topic, key, id, type \
         or value than these"
    )]
    Wrong,
}

/// How the messages on a bus are signed and checked. By default they are neither.
#[derive(Debug, Clone, Default)]
pub struct Signatures(Option<Arc<Keys>>);

#[derive(Debug)]
struct Keys {
    /// Whose topics these are, where several shops share a bus: what one has signed is nothing to another.
    scope: String,
    signs: SigningKey,
    /// Of earlier days, or of the days to come.
    also_accepted: Vec<SigningKey>,
}

impl Signatures {
    /// Signs with one key, and accepts others beside it.
    pub fn new(scope: impl Into<String>, signs: SigningKey, also_accepted: Vec<SigningKey>) -> Self {
        Self(Some(Arc::new(Keys {
            scope: scope.into(),
            signs,
            also_accepted,
        })))
    }

    /// Whether there is a key.
    pub fn are_made(&self) -> bool {
        self.0.is_some()
    }

    /// The message as it goes to this topic.
    #[must_use]
    pub fn sign(&self, topic: &str, message: Message) -> Message {
        self.put(OF_EVENT, topic, message, event)
    }

    /// Whether the event was signed for this topic, if events are signed here.
    pub(crate) fn check(&self, topic: &str, message: &Message) -> Result<(), Unproven> {
        self.verify(OF_EVENT, topic, message, event)
    }

    pub(crate) fn sign_letter(&self, topic: &str, letter: Message) -> Message {
        self.put(OF_LETTER, topic, letter, whole)
    }

    /// Whether a letter, or a note, was written by somebody who has the key, if there is one.
    pub(crate) fn knows_letter(&self, topic: &str, letter: &Message) -> bool {
        self.verify(OF_LETTER, topic, letter, whole).is_ok()
    }

    /// A letter without what a group says of it.
    pub(crate) const fn of_letter() -> &'static str {
        OF_LETTER
    }

    fn put(&self, header: &'static str, topic: &str, message: Message, what: What) -> Message {
        let Some(keys) = &self.0 else { return message };
        let signature = mac(&keys.signs, &keys.scope, topic, &message, what).finalize();
        let text = BASE64_STANDARD_NO_PAD.encode(signature.into_bytes());
        message.with_header(header, text)
    }

    fn verify(&self, header: &str, topic: &str, message: &Message, what: What) -> Result<(), Unproven> {
        let Some(keys) = &self.0 else { return Ok(()) };
        let signature = message.header(header).ok_or(Unproven::Unsigned)?;
        let signature = BASE64_STANDARD_NO_PAD.decode(signature).map_err(|_| Unproven::Wrong)?;
        // In a time that does not depend on how much of it is right.
        let fits = |key| {
            mac(key, &keys.scope, topic, message, what)
                .verify_slice(&signature)
                .is_ok()
        };
        if std::iter::once(&keys.signs).chain(&keys.also_accepted).any(fits) {
            Ok(())
        } else {
            Err(Unproven::Wrong)
        }
    }
}

/// What of a message is signed, as parts.
type What = fn(&Message) -> Vec<Option<&[u8]>>;

/// All that a consumer takes from an event. Other programs may add headers, which are nothing to it.
fn event(message: &Message) -> Vec<Option<&[u8]>> {
    let attributes = ATTRIBUTES.iter().map(|name| message.header(name).map(str::as_bytes));
    let purpose = Some("event".as_bytes());
    let content = [Some(message.key.as_bytes()), Some(message.value.as_ref())];
    std::iter::once(purpose).chain(attributes).chain(content).collect()
}

/// Everything, but for the signature itself.
fn whole(letter: &Message) -> Vec<Option<&[u8]>> {
    let headers = letter.headers.iter().filter(|(name, _)| name != OF_LETTER);
    let headers = headers.flat_map(|(name, value)| [Some(name.as_bytes()), Some(value.as_bytes())]);
    let content = ["letter".as_bytes(), letter.key.as_bytes(), letter.value.as_ref()];
    content.into_iter().map(Some).chain(headers).collect()
}

/// Each part goes in with its length, and one that is missing as such: no two different messages have the same input.
fn mac(key: &SigningKey, scope: &str, topic: &str, message: &Message, what: What) -> Hmac<Sha256> {
    let mut mac = key.0.clone();
    let place = [scope, topic].map(|part| Some(part.as_bytes()));
    for part in place.into_iter().chain(what(message)) {
        // No part is as long as that.
        let length = part.map_or(u64::MAX, |part| u64::try_from(part.len()).unwrap_or(u64::MAX - 1));
        mac.update(&length.to_be_bytes());
        mac.update(part.unwrap_or_default());
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::new(format!("a key of events with the number {byte}").as_bytes()).unwrap()
    }

    fn signatures(signs: u8, also: &[u8]) -> Signatures {
        Signatures::new("shop.", key(signs), also.iter().copied().map(key).collect())
    }

    fn message() -> Message {
        let headers = [
            ("ce_id", "1"),
            ("ce_type", "t.v1"),
            ("ce_source", "/s"),
            ("ce_time", "now"),
        ];
        Message {
            key: "k".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            value: "{}".into(),
        }
    }

    #[test]
    fn what_is_signed_is_known_by_this_key_and_by_the_one_before() {
        let signed = signatures(b'a', &[]).sign("t", message());
        for checks in [signatures(b'a', &[]), signatures(b'b', b"a"), Signatures::default()] {
            assert_eq!(checks.check("t", &signed), Ok(()));
        }
        assert_eq!(signatures(b'b', &[]).check("t", &signed), Err(Unproven::Wrong));
        assert_eq!(signatures(b'a', &[]).check("t", &message()), Err(Unproven::Unsigned));
    }

    #[test]
    fn nothing_that_a_consumer_reads_can_be_changed() {
        let signs = signatures(b'a', &[]);
        let signed = signs.sign("t", message());
        assert_eq!(signs.check("u", &signed), Err(Unproven::Wrong), "another topic");
        let elsewhere = Signatures::new("other.", key(b'a'), Vec::new());
        assert_eq!(elsewhere.check("t", &signed), Err(Unproven::Wrong), "another shop");
        let mut changed: Vec<Message> = ATTRIBUTES
            .map(|name| signed.clone().with_header(name, "x"))
            .into_iter()
            .collect();
        changed.push(Message {
            key: "l".to_owned(),
            ..signed.clone()
        });
        changed.push(Message {
            value: "[]".into(),
            ..signed.clone()
        });
        // What stood in the key now stands in the value.
        changed.push(Message {
            key: String::new(),
            value: "k{}".into(),
            ..signed.clone()
        });
        changed.push(signed.clone().with_header("traceparent", ""));
        changed.push(signed.clone().with_header(OF_EVENT, "not base 64"));
        changed.push(signed.clone().with_header(OF_EVENT, ""));
        for message in changed {
            assert_eq!(signs.check("t", &message), Err(Unproven::Wrong), "{message:?}");
        }
        assert_eq!(signs.check("t", &signed.with_header("added", "on the way")), Ok(()));
    }

    #[test]
    fn a_letter_is_signed_with_all_that_is_said_of_it() {
        let signs = signatures(b'a', &[]);
        let letter = signs.sign_letter("t.g.dlq", message().with_header("dlq-reason", "r"));
        assert!(signs.knows_letter("t.g.dlq", &letter));
        assert!(!signs.knows_letter("t.h.dlq", &letter));
        assert!(!signs.knows_letter("t.g.dlq", &letter.clone().with_header("dlq-reason", "s")));
        // The signature of an event is not that of a letter.
        let event = signs.sign("t.g.dlq", message());
        let event = event.clone().with_header(OF_LETTER, event.header(OF_EVENT).unwrap());
        assert!(!signs.knows_letter("t.g.dlq", &event));
    }

    #[test]
    fn what_is_signed_is_known_by_the_key_without_what_a_file_has_at_its_end() {
        let with = |key: &str| Signatures::new("", SigningKey::new(key.as_bytes()).unwrap(), Vec::new());
        let key = "a key of events, of more than 32 bytes";
        let signed = with(key).sign("t", message());
        for carried in ["\n", "\r\n", " ", "\n\n"] {
            assert_eq!(
                with(&format!("{key}{carried}")).check("t", &signed),
                Ok(()),
                "{carried:?}"
            );
        }
    }

    #[test]
    fn a_key_that_can_be_guessed_is_none_and_no_key_shows() {
        for (weak, why) in [([b' '; 40], WeakKey::TooShort), ([b'k'; 40], WeakKey::Monotonous)] {
            assert_eq!(SigningKey::new(&weak).unwrap_err(), why);
        }
        let shown = format!("{:?}", signatures(b'k', b"l"));
        assert!(!shown.contains("107") && !shown.contains("108"), "{shown}");
    }
}
