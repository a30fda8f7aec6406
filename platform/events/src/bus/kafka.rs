//! The bus on Kafka, for any number of processes.
//!
//! Calls of librdkafka block, except sending and receiving: they run on blocking threads, and clients are closed there.

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
    producer::{PublishError, Publisher},
    reader::Reader,
    subscription::KafkaSubscription,
    topics::Topics,
};
use super::{
    BusError, Delivery, Erase, EraseOutcome, EventBus, LetterPosition, RETENTION, Retain, StalledGroups, Subscription,
};
use crate::{Message, Signatures, Topic, dead_letter_topic};

/// The timeout of the first request to a broker.
const OPEN_TIMEOUT: Duration = Duration::from_secs(9);

/// How to reach a Kafka, and the names to use there.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port`, several with commas between them.
    pub brokers: String,
    /// The setting that holds `brokers`, for error messages.
    pub variable: &'static str,
    /// TLS and login.
    pub link: KafkaLink,
    /// The prefix of topics and groups on the wire, so that several shops can share one Kafka.
    pub prefix: String,
    /// The name of this process in the broker's logs.
    pub client_id: String,
    /// How long a member of a group may work on one delivery (`max.poll.interval.ms`). Then its partitions move to
    /// other members, and its commit fails. At least the broker's `group.min.session.timeout.ms`, which is 6 s.
    pub max_work: Duration,
}

impl KafkaOptions {
    /// The defaults, for these brokers.
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

/// A handle on a Kafka. Clones share its clients.
#[derive(Clone)]
pub struct KafkaBus {
    settings: Settings,
    publisher: Arc<Publisher>,
    topics: Arc<Topics>,
    stalled: StalledGroups,
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
        let publisher = Publisher::new(settings.clone()).map_err(|error| {
            fails(format!(
                "{brokers} cannot be used: {}",
                settings.log().with_last_error(&error)
            ))
        })?;
        let publisher = Arc::new(publisher);
        let producer = publisher.current();
        let answer = blocking(move || producer.client().fetch_metadata(None, OPEN_TIMEOUT)).await;
        if let Err(error) = answer.and_then(|answer| answer.map_err(BusError::new)) {
            let why = settings.log().with_last_error(&error.0);
            return Err(match settings.log().refusal() {
                Some(refusal) => refusal.open_error(&brokers, &why),
                None => fails(format!("no broker answers at {brokers}: {why}")),
            });
        }
        let topics = Arc::new(Topics::new(settings.clone(), publisher.clone()));
        Ok(Self {
            settings,
            publisher,
            topics,
            stalled: StalledGroups::default(),
            signatures: Signatures::default(),
            retention: RETENTION,
        })
    }

    #[must_use]
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    #[must_use]
    pub fn with_signatures(self, signatures: Signatures) -> Self {
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
            if let PublishError::Kafka { error, .. } = &failure
                && is_missing_topic(error)
            {
                self.topics.mark_missing(&topic);
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

    fn stalled(&self) -> &StalledGroups {
        &self.stalled
    }

    fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    async fn is_up(&self) -> bool {
        if !self.stalled.is_empty() {
            return false;
        }
        // Asks about one topic if one is known, because a shared Kafka may have very many.
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
    async fn erase(&self, _: &str, _: &[LetterPosition], _: &[String]) -> Result<EraseOutcome, BusError> {
        // A broker deletes only from the beginning of a partition.
        Ok(EraseOutcome::Unsupported)
    }
}

#[async_trait]
impl Retain for KafkaBus {
    fn retention(&self) -> Duration {
        self.retention
    }

    async fn trim(&self, topic: Topic, before: Timestamp) -> Result<u64, BusError> {
        let name = self.settings.on_wire(topic.name);
        self.topics.retry_keeping_whole(&name).await;
        for group in topic.groups {
            let letters = self.settings.on_wire(&dead_letter_topic(topic.name, group));
            self.topics.retry_keeping_whole(&letters).await;
        }
        let groups: Vec<_> = topic.groups.iter().map(|group| self.settings.on_wire(group)).collect();
        let settings = self.settings.clone();
        let old = blocking(move || retention::removable(&settings, &name, &groups, before)).await??;
        let admin = self.topics.admin()?;
        retention::remove(&admin, &self.settings.on_wire(topic.name), &old).await
    }

    async fn has_before(&self, topic: Topic, before: Timestamp) -> Result<bool, BusError> {
        let (settings, topic) = (self.settings.clone(), self.settings.on_wire(topic.name));
        let old = blocking(move || Reader::new(&settings, &topic)?.before(before)).await??;
        Ok(!old.is_empty())
    }
}

/// Runs blocking work on a thread for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BusError> {
    tokio::task::spawn_blocking(work).await.map_err(BusError::new)
}

/// Whether the topic is missing, according to the broker or to librdkafka.
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
