//! The bus on Kafka, for any number of processes.
//!
//! librdkafka blocks where it is not a matter of sending and receiving: such calls are made on threads that may block, and
//! clients are closed there, too.

mod client;
mod closing;
mod link;
mod membership;
mod producer;
mod progress;
mod reader;
mod record;
mod retention;
mod subscription;
mod topics;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::Producer,
};
use runtime::deadlines::PROBE_QUESTION;
use storage::OpenError;

pub use self::link::{KAFKA_TLS, KafkaLink, KafkaLogin, KafkaMechanism, KafkaTls};
use self::{
    client::Settings,
    producer::{Failure, Publisher},
    reader::Reader,
    subscription::KafkaSubscription,
    topics::Topics,
};
use super::{BusError, Delivery, Erase, Erased, EventBus, LookedAt, RETENTION, Retain, Stalled, Subscription};
use crate::{Message, Signatures, Topic};

/// How long a start waits for a broker's answer.
const OPEN_LIMIT: Duration = Duration::from_secs(9);

/// Where the bus is, and what this shop is called there.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port`, several with commas between them.
    pub brokers: String,
    /// The setting that they come from, to be named when they cannot be used.
    pub variable: &'static str,
    /// Who this is there, and what is between the two.
    pub link: KafkaLink,
    /// Stands before the names of topics and groups on the wire, so that several shops share one Kafka.
    pub prefix: String,
    /// How this process is called in the broker's logs.
    pub client_id: String,
    /// How long a member of a group may work on one delivery. Then its partitions go to others; it finds out when it commits.
    /// At least the broker's `group.min.session.timeout.ms`, which is 6 s.
    pub max_work: Duration,
}

impl KafkaOptions {
    /// Those that fit when nothing else is said.
    pub fn at(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            variable: "KAFKA_BROKERS",
            link: KafkaLink::default(),
            prefix: String::new(),
            client_id: "events".to_owned(),
            max_work: Duration::from_mins(5),
        }
    }
}

/// A handle on a Kafka. Clones share it.
#[derive(Clone)]
pub struct KafkaBus {
    settings: Settings,
    publisher: Arc<Publisher>,
    topics: Arc<Topics>,
    stalled: Stalled,
    signatures: Signatures,
    retention: Duration,
}

impl KafkaBus {
    /// Fails within about ten seconds when no broker answers.
    pub async fn open(options: KafkaOptions) -> Result<Self, OpenError> {
        let variable = options.variable;
        let fails = |problem| OpenError::Engine { variable, problem };
        let brokers = options.brokers.trim().to_owned();
        if brokers.is_empty() {
            return Err(fails("names no broker; it wants host:port".to_owned()));
        }
        let settings = Settings::new(options);
        let publisher = Publisher::new(settings.clone())
            .map_err(|error| fails(format!("{brokers} cannot be used: {}", settings.log().because(&error))))?;
        let publisher = Arc::new(publisher);
        let producer = publisher.current();
        let answer = blocking(move || producer.client().fetch_metadata(None, OPEN_LIMIT)).await;
        if let Err(error) = answer.and_then(|answer| answer.map_err(BusError::new)) {
            let why = settings.log().because(&error.0);
            return Err(match settings.log().refusal() {
                Some(refusal) => refusal.of(&brokers, &why),
                None => fails(format!("no broker answers at {brokers}: {why}")),
            });
        }
        let topics = Arc::new(Topics::new(settings.clone(), publisher.clone()));
        Ok(Self {
            settings,
            publisher,
            topics,
            stalled: Stalled::default(),
            signatures: Signatures::default(),
            retention: RETENTION,
        })
    }

    /// The same, which keeps events for so long.
    #[must_use]
    pub fn kept_for(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    /// The same, whose events are signed.
    #[must_use]
    pub fn signed(self, signatures: Signatures) -> Self {
        Self { signatures, ..self }
    }
}

impl From<KafkaError> for BusError {
    fn from(error: KafkaError) -> Self {
        Self::new(error)
    }
}

#[async_trait]
impl EventBus for KafkaBus {
    async fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<(), BusError> {
        self.topics.ensure(&self.settings.on_wire(topic), partitions).await
    }

    async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), BusError> {
        let topic = self.settings.on_wire(topic);
        self.topics.restore(&topic).await?;
        self.publisher.publish(&topic, messages).await.map_err(|failure| {
            if let Failure::Kafka { error, .. } = &failure
                && is_missing_topic(error)
            {
                self.topics.forget(&topic);
            }
            BusError::new(failure)
        })
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Subscription>, BusError> {
        let subscription = KafkaSubscription::join(
            &self.settings,
            self.topics.clone(),
            &self.settings.on_wire(group),
            self.settings.on_wire(topic.name),
        )?;
        Ok(Box::new(subscription))
    }

    async fn read_all(&self, topic: &str) -> Result<Vec<Delivery>, BusError> {
        let (settings, topic) = (self.settings.clone(), self.settings.on_wire(topic));
        blocking(move || reader::read_all(&settings, &topic)).await?
    }

    fn stalled(&self) -> &Stalled {
        &self.stalled
    }

    fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    async fn is_up(&self) -> bool {
        if !self.stalled.is_empty() {
            return false;
        }
        // About one topic, where one is known: all topics of a shared Kafka are much to tell.
        let (producer, topic) = (self.publisher.current(), self.topics.any());
        blocking(move || {
            producer
                .client()
                .fetch_metadata(topic.as_deref(), PROBE_QUESTION)
                .is_ok()
        })
        .await
        .unwrap_or(false)
    }
}

#[async_trait]
impl Erase for KafkaBus {
    async fn erase(&self, _: &str, _: &[LookedAt], _: &[String]) -> Result<Erased, BusError> {
        // A broker deletes from the beginning of a partition only.
        Ok(Erased::Kept)
    }
}

#[async_trait]
impl Retain for KafkaBus {
    fn retention(&self) -> Duration {
        self.retention
    }

    async fn trim(&self, topic: Topic, before: Timestamp) -> Result<u64, BusError> {
        let name = self.settings.on_wire(topic.name);
        let groups: Vec<_> = topic.groups.iter().map(|group| self.settings.on_wire(group)).collect();
        let settings = self.settings.clone();
        let old = blocking(move || retention::read_by_all(&settings, &name, &groups, before)).await??;
        retention::remove(&self.topics.admin()?, &self.settings.on_wire(topic.name), &old).await
    }

    async fn has_before(&self, topic: Topic, before: Timestamp) -> Result<bool, BusError> {
        let (settings, topic) = (self.settings.clone(), self.settings.on_wire(topic.name));
        let old = blocking(move || Reader::new(&settings, &topic)?.before(before)).await??;
        Ok(!old.is_empty())
    }
}

/// Runs what blocks, on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BusError> {
    tokio::task::spawn_blocking(work).await.map_err(BusError::new)
}

/// Whether it says that a topic is not there, be it the broker or librdkafka that found out.
fn is_missing_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicId
        )
    )
}
