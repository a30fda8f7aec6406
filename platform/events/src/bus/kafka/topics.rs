//! Creates missing topics, and remembers existing ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication},
    error::RDKafkaErrorCode,
    producer::Producer as _,
};
use runtime::telemetry::chain;
use tokio::time::Instant;

use super::{
    blocking,
    client::{Log, MAX_BATCH_BYTES, REQUEST_TIMEOUT, Settings},
    closing::BackgroundClose,
    producer::Publisher,
};
use crate::BusError;

/// How long a new topic may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(50);
/// The settings that are -1 on a topic from which the broker removes nothing.
const RETENTION: [&str; 2] = ["retention.ms", "retention.bytes"];

/// The known topics, by their names on the wire.
pub(super) struct Topics {
    settings: Settings,
    publisher: Arc<Publisher>,
    known: Mutex<HashMap<String, KnownTopic>>,
}

struct KnownTopic {
    /// The requested number. An existing topic may have another one.
    partitions: u32,
    exists: bool,
    /// Whether the broker's retention is known to be disabled.
    is_kept_whole: bool,
}

/// The state of a topic on the broker.
enum TopicState {
    Ready,
    /// The topic exists, but a partition has no leader yet.
    Leaderless,
    Missing,
}

impl Topics {
    pub(super) fn new(settings: Settings, publisher: Arc<Publisher>) -> Self {
        Self {
            settings,
            publisher,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, KnownTopic>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Any existing topic.
    pub(super) fn any(&self) -> Option<String> {
        let known = self.known();
        known
            .iter()
            .find(|(_, topic)| topic.exists)
            .map(|(name, _)| name.clone())
    }

    /// Creates the topic if it is missing.
    pub(super) async fn ensure(&self, topic: &str, partitions: u32) -> Result<(), BusError> {
        if self.known().get(topic).is_some_and(|topic| topic.exists) {
            self.retry_keeping_whole(topic).await;
            return Ok(());
        }
        let mut is_new = false;
        if matches!(self.state(topic).await?, TopicState::Missing) {
            is_new = self.create(topic, partitions).await?;
            self.wait_until_ready(topic).await?;
        }
        let known = KnownTopic {
            partitions,
            exists: true,
            is_kept_whole: is_new || self.keep_whole(topic).await,
        };
        self.known().insert(topic.to_owned(), known);
        Ok(())
    }

    /// Disables the broker's retention on a known topic if that has failed before.
    pub(super) async fn retry_keeping_whole(&self, topic: &str) {
        let failed = |known: &KnownTopic| known.exists && !known.is_kept_whole;
        if !self.known().get(topic).is_some_and(failed) || !self.keep_whole(topic).await {
            return;
        }
        if let Some(known) = self.known().get_mut(topic) {
            known.is_kept_whole = true;
        }
    }

    /// Disables the broker's retention on an existing topic. A failure is logged: events can be published and read
    /// anyway.
    async fn keep_whole(&self, topic: &str) -> bool {
        let disabled = self.disable_retention(topic).await;
        if let Err(error) = &disabled {
            tracing::warn!(
                topic,
                error = chain(error),
                "whether Kafka removes events by itself is not known; the topic wants retention.ms=-1 and retention.bytes=-1"
            );
        }
        disabled.is_ok()
    }

    /// Creates a topic again that this process had ensured and that was deleted since.
    pub(super) async fn restore(&self, topic: &str) -> Result<(), BusError> {
        let partitions = self
            .known()
            .get(topic)
            .filter(|topic| !topic.exists)
            .map(|topic| topic.partitions);
        match partitions {
            Some(partitions) => self.ensure(topic, partitions).await,
            None => Ok(()),
        }
    }

    /// Notes that the topic was deleted.
    pub(super) fn mark_missing(&self, topic: &str) {
        if let Some(known) = self.known().get_mut(topic) {
            known.exists = false;
        }
    }

    async fn state(&self, topic: &str) -> Result<TopicState, BusError> {
        let (producer, name) = (self.publisher.current(), topic.to_owned());
        let metadata = blocking(move || producer.client().fetch_metadata(Some(&name), REQUEST_TIMEOUT)).await?;
        let metadata = metadata.map_err(|error| BusError::new(self.settings.log().with_last_error(&error)))?;
        let Some(found) = metadata.topics().first() else {
            return Ok(TopicState::Missing);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None if found.partitions().iter().all(|partition| partition.leader() >= 0) => Ok(TopicState::Ready),
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(TopicState::Leaderless),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(TopicState::Missing),
            Some(error) => Err(BusError::new(format!("topic {topic}: {error}"))),
        }
    }

    /// Creates the topic. False if it exists: the broker's metadata lags, or another process was first, perhaps with other
    /// settings.
    async fn create(&self, topic: &str, partitions: u32) -> Result<bool, BusError> {
        let client = self.admin()?;
        let count = i32::try_from(partitions).map_err(BusError::new)?;
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(-1))
            // The broker removes nothing: a new group starts at the beginning, and a dead letter may wait for long.
            .set("cleanup.policy", "delete")
            .set(RETENTION[0], "-1")
            .set(RETENTION[1], "-1")
            .set("max.message.bytes", MAX_BATCH_BYTES);
        let results = client.create_topics([&new], &options()).await?;
        if let Some((_, error)) = results.into_iter().find_map(Result::err) {
            check_creation(topic, partitions, error)?;
            return Ok(false);
        }
        tracing::info!(topic, partitions, "made a topic");
        Ok(true)
    }

    /// Disables the broker's retention on an existing topic: this bus removes events itself, once all groups have read
    /// them. The call replaces all settings of the topic, so it repeats the others.
    async fn disable_retention(&self, topic: &str) -> Result<(), BusError> {
        let client = self.admin()?;
        let (specifier, options) = (ResourceSpecifier::Topic(topic), options());
        for resource in client.describe_configs([&specifier], &options).await? {
            let resource = resource.map_err(|error| BusError::new(format!("its configuration: {error}")))?;
            let is_disabled = |name: &&str| {
                resource
                    .get(name)
                    .is_some_and(|entry| entry.value.as_deref() == Some("-1"))
            };
            if RETENTION.iter().all(is_disabled) {
                continue;
            }
            let set = resource
                .entries
                .iter()
                .filter(|entry| entry.source == ConfigSource::DynamicTopic);
            let mut wanted = AlterConfig::new(ResourceSpecifier::Topic(topic));
            for (name, value) in set.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))) {
                wanted = wanted.set(name, value);
            }
            wanted = RETENTION.iter().fold(wanted, |wanted, name| wanted.set(name, "-1"));
            let altered = client.alter_configs([&wanted], &options).await?;
            if let Some((_, error)) = altered.into_iter().find_map(Result::err) {
                return Err(BusError::new(format!("its configuration cannot be changed: {error}")));
            }
            tracing::info!(topic, "told Kafka to remove no events by itself");
        }
        Ok(())
    }

    /// A new admin client.
    pub(super) fn admin(&self) -> Result<BackgroundClose<AdminClient<Log>>, BusError> {
        let log = self.settings.log().clone();
        Ok(BackgroundClose::new(self.settings.client().create_with_context(log)?))
    }

    async fn wait_until_ready(&self, topic: &str) -> Result<(), BusError> {
        let since = Instant::now();
        while !matches!(self.state(topic).await?, TopicState::Ready) {
            if since.elapsed() > READY_TIMEOUT {
                return Err(BusError::new(format!("topic {topic} was made and is not ready")));
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }
}

pub(super) fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT))
}

/// Judges the error of a creation. That the topic exists is none.
fn check_creation(topic: &str, partitions: u32, error: RDKafkaErrorCode) -> Result<(), BusError> {
    const FORBIDDEN: [RDKafkaErrorCode; 3] = [
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
        RDKafkaErrorCode::PolicyViolation,
    ];
    if error == RDKafkaErrorCode::TopicAlreadyExists {
        return Ok(());
    }
    Err(BusError::new(if FORBIDDEN.contains(&error) {
        format!(
            "topic {topic} is not there, and this client may not make it ({error}); \
             make it with {partitions} partitions, retention.ms=-1 and max.message.bytes={MAX_BATCH_BYTES}, or allow CREATE on it",
        )
    } else {
        format!("topic {topic} could not be made: {error}")
    }))
}

#[cfg(test)]
mod tests {
    use runtime::telemetry::chain;

    use super::*;

    #[test]
    fn a_forbidden_creation_says_what_to_do() {
        assert!(check_creation("t", 3, RDKafkaErrorCode::TopicAlreadyExists).is_ok());
        for code in [
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::PolicyViolation,
        ] {
            let text = chain(&check_creation("t", 3, code).unwrap_err());
            assert!(
                text.contains("topic t is not there, and this client may not make it"),
                "{text}"
            );
            assert!(
                text.contains("make it with 3 partitions, retention.ms=-1 and ")
                    && text.ends_with(", or allow CREATE on it"),
                "{text}"
            );
        }
        let text = chain(&check_creation("t", 3, RDKafkaErrorCode::InvalidReplicationFactor).unwrap_err());
        assert!(text.contains("topic t could not be made"), "{text}");
    }
}
