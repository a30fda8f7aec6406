//! Events that are neither lost nor applied twice: envelope, outbox, relay, bus, consumers with inbox and dead letters.

pub mod bus;
pub mod commits;
mod consumer;
mod dead_letters;
mod envelope;
pub mod inbox;
mod kind;
mod message;
pub mod outbox;
mod relay;
mod retention;
mod service;
mod signature;

pub use bus::{
    BusError, Delivery, Erase, EraseOutcome, EventBus, LetterPosition, Position, Retain, StalledGroups, Subscription,
    kafka::{KAFKA_TLS, KafkaBus, KafkaLink, KafkaLogin, KafkaMechanism, KafkaOptions, KafkaTls},
    sqlite::SqliteBus,
};
pub use consumer::{Consumer, Handler, HandlerError};
pub use dead_letters::{DeadLetters, Parked, dead_letter_topic};
pub use envelope::{Event, Malformed};
pub use inbox::{Inbox, InboxPruner, postgres::PostgresInbox, sqlite::SqliteInbox};
pub use message::Message;
pub use outbox::{Outbox, postgres::PostgresOutbox, sqlite::SqliteOutbox};
pub use relay::{Relay, RelayWaker};
pub use runtime::Topic;
pub use service::ServiceEvents;
pub use signature::{SignatureError, Signatures, SigningKey};
