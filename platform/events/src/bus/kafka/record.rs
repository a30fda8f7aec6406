//! What a record of Kafka is to us, and back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedHeaders, BorrowedMessage, Header, Headers, Message as _, OwnedHeaders},
};

use crate::{Delivery, Message, Position};

/// A record, whoever wrote it. What is no text in its key or its headers becomes text as far as that goes: the record is
/// then no event, and whoever applies events parks it. An error here would make it come again for ever.
pub(super) fn delivery(record: &BorrowedMessage<'_>) -> Delivery {
    Delivery {
        position: Position {
            // Neither is negative on a record that was read.
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

/// What an error says, if it is of a record and not of the broker or the way to it: the next attempt would end in the same one.
/// librdkafka stays in front of such a record for ever, and does not say where that is.
pub(super) fn defect(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    use RDKafkaErrorCode::{
        BadCompression, BadMessage, InvalidMessage, InvalidMessageSize, InvalidRecord, MessageSizeTooLarge,
        NotImplemented,
    };
    let KafkaError::MessageConsumption(code) = error else {
        return None;
    };
    // A codec or a format that is not known; what does not unpack, or not to what its checksum says; what is too large.
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

/// What is delivered in place of a record that cannot be read, so that its group parks it and goes on.
pub(super) fn unreadable(partition: u32, offset: u64, defect: RDKafkaErrorCode) -> Delivery {
    Delivery {
        position: Position { partition, offset },
        message: Message::not_read(format!("the record cannot be read: {defect}")),
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn headers(headers: &BorrowedHeaders) -> Vec<(String, String)> {
    (0..headers.count())
        .filter_map(|index| {
            // The library panics at a name that is not UTF-8, and has no other way to ask for the header.
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
