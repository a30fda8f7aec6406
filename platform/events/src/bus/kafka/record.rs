//! Converts records of Kafka to messages, and back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedHeaders, BorrowedMessage, Header, Headers, Message as _, OwnedHeaders},
};

use crate::{Delivery, Message, Position};

/// Converts any record. Invalid UTF-8 in key or headers is replaced: such a record is no event, and its consumer parks
/// it. An error here would make the record come again for ever.
pub(super) fn delivery(record: &BorrowedMessage<'_>) -> Delivery {
    Delivery {
        position: Position {
            // Both are never negative on a record that was read.
            partition: record.partition().unsigned_abs(),
            offset: record.offset().unsigned_abs(),
        },
        message: Message {
            key: text(record.key()),
            headers: record.headers().map(headers).unwrap_or_default(),
            value: record.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        },
    }
}

/// The code of an error that is caused by a record, and not by the broker or the network: a retry fails again.
/// librdkafka stays in front of such a record for ever, and does not say at which position.
pub(super) fn record_error(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    use RDKafkaErrorCode::{
        BadCompression, BadMessage, InvalidMessage, InvalidMessageSize, InvalidRecord, MessageSizeTooLarge,
        NotImplemented,
    };
    let KafkaError::MessageConsumption(code) = error else {
        return None;
    };
    // Unknown codec or format; failed decompression or checksum; too large.
    let of_records = [
        NotImplemented,
        BadCompression,
        BadMessage,
        InvalidMessage,
        InvalidRecord,
        InvalidMessageSize,
        MessageSizeTooLarge,
    ];
    of_records.contains(code).then_some(*code)
}

/// The placeholder that is delivered for an unreadable record, so that the group parks it and goes on.
pub(super) fn unreadable(partition: u32, offset: u64, code: RDKafkaErrorCode) -> Delivery {
    Delivery {
        position: Position { partition, offset },
        message: Message::for_unreadable(format!("the record cannot be read: {code}")),
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn headers(headers: &BorrowedHeaders) -> Vec<(String, String)> {
    (0..headers.count())
        .filter_map(|index| {
            // rdkafka panics on a header name that is not UTF-8, and has no other way to read the header.
            let header = catch_unwind(AssertUnwindSafe(|| {
                let header = headers.try_get(index)?;
                Some((header.key.to_owned(), text(header.value)))
            }));
            header.unwrap_or_else(|_| Some((char::REPLACEMENT_CHARACTER.to_string(), String::new())))
        })
        .collect()
}

pub(super) fn owned_headers(headers: &[(String, String)]) -> OwnedHeaders {
    let owned = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(owned, |owned, (key, value)| {
        owned.insert(Header {
            key,
            value: Some(value.as_str()),
        })
    })
}
