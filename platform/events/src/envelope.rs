//! The envelope of an event: CloudEvents 1.0 in binary mode (the attributes are headers, the value is the data).

use bytes::Bytes;
use jiff::Timestamp;
use runtime::RequestContext;
use uuid::Uuid;

use crate::Message;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Consumers apply an event with a known id no second time.
    pub id: Uuid,
    /// CloudEvents type, with a version: `cartwright.checkout.completed.v1`.
    pub kind: String,
    /// The short name, `CheckoutCompleted`.
    pub name: String,
    /// CloudEvents source: `/checkout`.
    pub source: String,
    pub time: Timestamp,
    pub key: String,
    /// The request that caused it.
    pub context: RequestContext,
    /// JSON.
    pub data: Bytes,
}

/// Why a message is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {0} is malformed")]
    Header(&'static str),
}

impl Event {
    pub fn to_message(&self) -> Message {
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.to_string()),
            ("ce_type", self.kind.clone()),
            ("ce_source", self.source.clone()),
            ("ce_time", self.time.to_string()),
            ("content-type", "application/json".to_owned()),
            ("traceparent", self.context.traceparent.clone()),
            ("event_type", self.name.clone()),
            ("x-request-id", self.context.request_id.clone()),
        ];
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Message {
            key: self.key.clone(),
            headers,
            value: self.data.clone(),
        }
    }

    pub fn from_message(message: &Message) -> Result<Self, Malformed> {
        let header = |name| message.header(name).ok_or(Malformed::Missing(name));
        let optional = |name| message.header(name).unwrap_or_default().to_owned();
        Ok(Self {
            id: header("ce_id")?.parse().map_err(|_| Malformed::Header("ce_id"))?,
            kind: header("ce_type")?.to_owned(),
            name: optional("event_type"),
            source: header("ce_source")?.to_owned(),
            time: header("ce_time")?.parse().map_err(|_| Malformed::Header("ce_time"))?,
            key: message.key.clone(),
            context: RequestContext {
                request_id: optional("x-request-id"),
                traceparent: optional("traceparent"),
            },
            data: message.value.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            id: Uuid::from_u128(1),
            kind: "test.happened.v1".to_owned(),
            name: "Happened".to_owned(),
            source: "/test".to_owned(),
            time: Timestamp::UNIX_EPOCH,
            key: "k".to_owned(),
            context: RequestContext {
                request_id: "r".to_owned(),
                traceparent: "t".to_owned(),
            },
            data: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn an_event_is_read_back_from_its_message() {
        assert_eq!(Event::from_message(&event().to_message()), Ok(event()));
    }

    #[test]
    fn a_message_without_an_id_is_no_event() {
        let mut message = event().to_message();
        message.headers.retain(|(name, _)| name != "ce_id");
        assert_eq!(Event::from_message(&message), Err(Malformed::Missing("ce_id")));
        assert_eq!(
            Event::from_message(&message.with_header("ce_id", "7")),
            Err(Malformed::Header("ce_id"))
        );
    }
}
