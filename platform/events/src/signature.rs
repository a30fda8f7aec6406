//! Signatures of events: HMAC-SHA256 with a key of the shop.
//!
//! Relays sign what they publish, and consumers check it. Dead letters and their notes are signed as well: nobody
//! without the key can hide a letter, or forge one.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use runtime::config::{WeakKey, strong_key};
use sha2::Sha256;

use crate::Message;

/// The header with the signature of an event.
const EVENT_HEADER: &str = "event-signature";
/// The header with the signature of a dead letter or a note.
pub(crate) const LETTER_HEADER: &str = "dlq-signature";
/// The headers that a consumer reads of an event.
const ATTRIBUTES: [&str; 7] = [
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "event_type",
    "traceparent",
    "x-request-id",
];

/// A strong signing key.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Ignores whitespace around the key. Refuses keys that can be guessed.
    pub fn new(key: &[u8]) -> Result<Self, WeakKey> {
        // HMAC takes keys of any length.
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

/// Why the signature of an event was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is not signed with the key of this shop's events")]
    Missing,
    #[error(
        "its signature is wrong: it was made with another key than this shop's events, or for another topic, key, id, type \
         or value than these"
    )]
    Invalid,
}

/// Signs and checks the messages of a bus. The default does neither.
#[derive(Debug, Clone, Default)]
pub struct Signatures(Option<Arc<Keys>>);

#[derive(Debug)]
struct Keys {
    /// The shop, where several shops share a bus. A signature is valid in one scope only.
    scope: String,
    signs: SigningKey,
    /// Previous or next keys, during a key rotation.
    also_accepted: Vec<SigningKey>,
}

impl Signatures {
    /// Signs with one key, and accepts the others, too.
    pub fn new(scope: impl Into<String>, signs: SigningKey, also_accepted: Vec<SigningKey>) -> Self {
        Self(Some(Arc::new(Keys {
            scope: scope.into(),
            signs,
            also_accepted,
        })))
    }

    /// Whether there is a key.
    pub fn are_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Signs an event for this topic.
    #[must_use]
    pub fn sign(&self, topic: &str, message: Message) -> Message {
        self.sign_parts(EVENT_HEADER, topic, message, event_parts)
    }

    /// Checks the signature of an event. Accepts everything without a key.
    pub(crate) fn check(&self, topic: &str, message: &Message) -> Result<(), SignatureError> {
        self.verify(EVENT_HEADER, topic, message, event_parts)
    }

    pub(crate) fn sign_letter(&self, topic: &str, letter: Message) -> Message {
        self.sign_parts(LETTER_HEADER, topic, letter, letter_parts)
    }

    /// Whether a letter, note or redriven event was signed with the key. Always true without a key.
    pub(crate) fn is_authentic_letter(&self, topic: &str, letter: &Message) -> bool {
        self.verify(LETTER_HEADER, topic, letter, letter_parts).is_ok()
    }

    fn sign_parts(&self, header: &'static str, topic: &str, message: Message, parts: SignedParts) -> Message {
        let Some(keys) = &self.0 else { return message };
        let signature = mac(&keys.signs, &keys.scope, topic, &message, parts).finalize();
        let text = BASE64_STANDARD_NO_PAD.encode(signature.into_bytes());
        message.with_header(header, text)
    }

    fn verify(&self, header: &str, topic: &str, message: &Message, parts: SignedParts) -> Result<(), SignatureError> {
        let Some(keys) = &self.0 else { return Ok(()) };
        let signature = message.header(header).ok_or(SignatureError::Missing)?;
        let signature = BASE64_STANDARD_NO_PAD
            .decode(signature)
            .map_err(|_| SignatureError::Invalid)?;
        // Compares in constant time.
        let fits = |key| {
            mac(key, &keys.scope, topic, message, parts)
                .verify_slice(&signature)
                .is_ok()
        };
        if std::iter::once(&keys.signs).chain(&keys.also_accepted).any(fits) {
            Ok(())
        } else {
            Err(SignatureError::Invalid)
        }
    }
}

/// Returns the signed parts of a message.
type SignedParts = fn(&Message) -> Vec<Option<&[u8]>>;

/// All that a consumer reads of an event. Other headers are not signed, so that other programs may add some.
fn event_parts(message: &Message) -> Vec<Option<&[u8]>> {
    let attributes = ATTRIBUTES.iter().map(|name| message.header(name).map(str::as_bytes));
    let purpose = Some("event".as_bytes());
    let content = [Some(message.key.as_bytes()), Some(message.value.as_ref())];
    std::iter::once(purpose).chain(attributes).chain(content).collect()
}

/// The whole message without the signature itself.
fn letter_parts(letter: &Message) -> Vec<Option<&[u8]>> {
    let headers = letter.headers.iter().filter(|(name, _)| name != LETTER_HEADER);
    let headers = headers.flat_map(|(name, value)| [Some(name.as_bytes()), Some(value.as_bytes())]);
    let content = ["letter".as_bytes(), letter.key.as_bytes(), letter.value.as_ref()];
    content.into_iter().map(Some).chain(headers).collect()
}

/// Hashes each part with its length, and a missing part with a marker: different messages never have the same input.
fn mac(key: &SigningKey, scope: &str, topic: &str, message: &Message, parts: SignedParts) -> Hmac<Sha256> {
    let mut mac = key.0.clone();
    let place = [scope, topic].map(|part| Some(part.as_bytes()));
    for part in place.into_iter().chain(parts(message)) {
        // `u64::MAX` marks a missing part: no part is as long.
        let length = part.map_or(u64::MAX, |part| u64::try_from(part.len()).unwrap_or(u64::MAX - 1));
        mac.update(&length.to_be_bytes());
        mac.update(part.unwrap_or_default());
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::{
        SignatureError::{Invalid, Missing},
        *,
    };

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
    fn a_signature_is_valid_with_the_current_and_the_previous_key() {
        let signed = signatures(b'a', &[]).sign("t", message());
        for checks in [signatures(b'a', &[]), signatures(b'b', b"a"), Signatures::default()] {
            assert_eq!(checks.check("t", &signed), Ok(()));
        }
        assert_eq!(signatures(b'b', &[]).check("t", &signed), Err(Invalid));
        assert_eq!(signatures(b'a', &[]).check("t", &message()), Err(Missing));
    }

    #[test]
    fn a_change_of_any_part_that_consumers_read_invalidates_the_signature() {
        let signs = signatures(b'a', &[]);
        let signed = signs.sign("t", message());
        assert_eq!(signs.check("u", &signed), Err(Invalid), "another topic");
        let elsewhere = Signatures::new("other.", key(b'a'), Vec::new());
        assert_eq!(elsewhere.check("t", &signed), Err(Invalid), "another shop");
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
        // The bytes of the key are moved into the value.
        changed.push(Message {
            key: String::new(),
            value: "k{}".into(),
            ..signed.clone()
        });
        changed.push(signed.clone().with_header("traceparent", ""));
        changed.push(signed.clone().with_header(EVENT_HEADER, "not base 64"));
        changed.push(signed.clone().with_header(EVENT_HEADER, ""));
        for message in changed {
            assert_eq!(signs.check("t", &message), Err(Invalid), "{message:?}");
        }
        assert_eq!(signs.check("t", &signed.with_header("added", "on the way")), Ok(()));
    }

    #[test]
    fn the_signature_of_a_letter_covers_all_of_its_headers() {
        let signs = signatures(b'a', &[]);
        let letter = signs.sign_letter("t.g.dlq", message().with_header("dlq-reason", "r"));
        assert!(signs.is_authentic_letter("t.g.dlq", &letter));
        assert!(!signs.is_authentic_letter("t.h.dlq", &letter));
        assert!(!signs.is_authentic_letter("t.g.dlq", &letter.clone().with_header("dlq-reason", "s")));
        // The signature of an event is not valid for a letter.
        let event = signs.sign("t.g.dlq", message());
        let event = event
            .clone()
            .with_header(LETTER_HEADER, event.header(EVENT_HEADER).unwrap());
        assert!(!signs.is_authentic_letter("t.g.dlq", &event));
    }

    #[test]
    fn whitespace_at_the_end_of_a_key_is_ignored() {
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
    fn weak_keys_are_refused_and_debug_output_hides_keys() {
        for (weak, why) in [([b' '; 40], WeakKey::TooShort), ([b'k'; 40], WeakKey::Monotonous)] {
            assert_eq!(SigningKey::new(&weak).unwrap_err(), why);
        }
        let shown = format!("{:?}", signatures(b'k', b"l"));
        assert!(!shown.contains("107") && !shown.contains("108"), "{shown}");
    }
}
