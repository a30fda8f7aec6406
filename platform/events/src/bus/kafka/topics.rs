//! Topics: made when they are missing, and asked about once.

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
    client::{Log, MAX_BATCH_BYTES, Settings},
    closing::Closing,
    producer::Publisher,
};
use crate::BusError;

/// How long a question to the broker may take.
const ASK_LIMIT: Duration = Duration::from_secs(8);
/// How long a topic that was made may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(50);
/// What is -1 for a topic of which the broker removes nothing.
const FOR_EVER: [&str; 2] = ["retention.ms", "retention.bytes"];

/// What is known of topics, by their names on the wire.
pub(super) struct Topics {
    settings: Settings,
    publisher: Arc<Publisher>,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    /// As many as it was asked for with, which are not always as many as it has.
    partitions: u32,
    is_there: bool,
}

/// What the broker says of a topic.
enum Found {
    Ready,
    /// It is there, and some partition has no leader yet.
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

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Any topic that is there.
    pub(super) fn any(&self) -> Option<String> {
        let known = self.known();
        known
            .iter()
            .find(|(_, topic)| topic.is_there)
            .map(|(name, _)| name.clone())
    }

    /// Makes the topic if it is not there.
    pub(super) async fn ensure(&self, topic: &str, partitions: u32) -> Result<(), BusError> {
        if self.known().get(topic).is_some_and(|topic| topic.is_there) {
            return Ok(());
        }
        if matches!(self.find(topic).await?, Found::Missing) {
            self.create(topic, partitions).await?;
            self.ready(topic).await?;
        } else if let Err(error) = self.keep_all(topic).await {
            tracing::warn!(
                topic,
                error = chain(&error),
                "whether Kafka removes events by itself is not known; the topic wants retention.ms=-1 and retention.bytes=-1"
            );
        }
        let is_there = true;
        self.known().insert(topic.to_owned(), Known { partitions, is_there });
        Ok(())
    }

    /// Makes a topic again that was made sure of in this process, and has been deleted since.
    pub(super) async fn restore(&self, topic: &str) -> Result<(), BusError> {
        let partitions = self
            .known()
            .get(topic)
            .filter(|topic| !topic.is_there)
            .map(|topic| topic.partitions);
        match partitions {
            Some(partitions) => self.ensure(topic, partitions).await,
            None => Ok(()),
        }
    }

    /// Somebody has found that the topic is not there.
    pub(super) fn forget(&self, topic: &str) {
        if let Some(known) = self.known().get_mut(topic) {
            known.is_there = false;
        }
    }

    async fn find(&self, topic: &str) -> Result<Found, BusError> {
        let (producer, name) = (self.publisher.current(), topic.to_owned());
        let metadata = blocking(move || producer.client().fetch_metadata(Some(&name), ASK_LIMIT)).await?;
        let metadata = metadata.map_err(|error| BusError::new(self.settings.log().because(&error)))?;
        let Some(found) = metadata.topics().first() else {
            return Ok(Found::Missing);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None if found.partitions().iter().all(|partition| partition.leader() >= 0) => Ok(Found::Ready),
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(Found::Leaderless),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(Found::Missing),
            Some(error) => Err(BusError::new(format!("topic {topic}: {error}"))),
        }
    }

    async fn create(&self, topic: &str, partitions: u32) -> Result<(), BusError> {
        let client = self.admin()?;
        let count = i32::try_from(partitions).map_err(BusError::new)?;
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(-1))
            // Events are kept: a new group starts at the beginning, and a parked one may wait for long.
            .set("cleanup.policy", "delete")
            .set(FOR_EVER[0], "-1")
            .set(FOR_EVER[1], "-1")
            .set("max.message.bytes", MAX_BATCH_BYTES);
        let results = client.create_topics([&new], &options()).await?;
        for (_, error) in results.into_iter().filter_map(Result::err) {
            refused(topic, partitions, error)?;
        }
        tracing::info!(topic, partitions, "made a topic");
        Ok(())
    }

    /// Lets a topic that is there keep everything: what may go is removed by us, once all groups have read it. What else is set
    /// for the topic stays as it is: the call replaces all that is set, so it repeats that.
    async fn keep_all(&self, topic: &str) -> Result<(), BusError> {
        let client = self.admin()?;
        let (specifier, options) = (ResourceSpecifier::Topic(topic), options());
        for resource in client.describe_configs([&specifier], &options).await? {
            let resource = resource.map_err(|error| BusError::new(format!("its configuration: {error}")))?;
            let is_kept = |name: &&str| {
                resource
                    .get(name)
                    .is_some_and(|entry| entry.value.as_deref() == Some("-1"))
            };
            if FOR_EVER.iter().all(is_kept) {
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
            wanted = FOR_EVER.iter().fold(wanted, |wanted, name| wanted.set(name, "-1"));
            let altered = client.alter_configs([&wanted], &options).await?;
            if let Some((_, error)) = altered.into_iter().find_map(Result::err) {
                return Err(BusError::new(format!("its configuration cannot be changed: {error}")));
            }
            tracing::info!(topic, "told Kafka to remove no events by itself");
        }
        Ok(())
    }

    /// A client that changes topics.
    pub(super) fn admin(&self) -> Result<Closing<AdminClient<Log>>, BusError> {
        let log = self.settings.log().clone();
        Ok(Closing::new(self.settings.client().create_with_context(log)?))
    }

    /// Ends when the topic can be published to.
    async fn ready(&self, topic: &str) -> Result<(), BusError> {
        let since = Instant::now();
        while !matches!(self.find(topic).await?, Found::Ready) {
            if since.elapsed() > READY_LIMIT {
                return Err(BusError::new(format!("topic {topic} was made and is not ready")));
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ASK_LIMIT))
        .operation_timeout(Some(ASK_LIMIT))
}

/// Whether it matters that a topic was not made.
fn refused(topic: &str, partitions: u32, error: RDKafkaErrorCode) -> Result<(), BusError> {
    const FORBIDDEN: [RDKafkaErrorCode; 3] = [
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
        RDKafkaErrorCode::PolicyViolation,
    ];
    if error == RDKafkaErrorCode::TopicAlreadyExists {
        // Another process was first.
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
    fn who_may_not_make_a_topic_is_told_what_to_do() {
        assert!(refused("t", 3, RDKafkaErrorCode::TopicAlreadyExists).is_ok());
        for code in [
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::PolicyViolation,
        ] {
            let text = chain(&refused("t", 3, code).unwrap_err());
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
        let text = chain(&refused("t", 3, RDKafkaErrorCode::InvalidReplicationFactor).unwrap_err());
        assert!(text.contains("topic t could not be made"), "{text}");
    }
}
