//! Publishes messages: durable on return, and in order per key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::join_all;
use rdkafka::{
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord},
};
use runtime::deadlines::PUBLICATION;

use super::{
    client::{Log, Settings},
    closing::BackgroundClose,
    record::owned_headers,
};
use crate::Message;

/// Why messages were not published. Some of them may have been stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("topic {topic}: {error}")]
    Kafka { topic: String, error: KafkaError },
    #[error("topic {topic}: a message of {bytes} bytes is too large")]
    TooLarge { topic: String, bytes: usize },
    #[error("topic {0}: no broker has confirmed the messages within {PUBLICATION:?}")]
    TimedOut(String),
    #[error("topic {0}: a message was confirmed without its offset")]
    Unconfirmed(String),
}

/// Publishes through one client, and replaces it after a failure.
pub(super) struct Publisher {
    settings: Settings,
    current: Mutex<Arc<BackgroundClose<FutureProducer<Log>>>>,
}

impl Publisher {
    pub(super) fn new(settings: Settings) -> KafkaResult<Self> {
        let current = Mutex::new(producer(&settings)?);
        Ok(Self { settings, current })
    }

    pub(super) fn current(&self) -> Arc<BackgroundClose<FutureProducer<Log>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns when all messages are durable, or with the first failure. Messages that the failed client still sends
    /// are only repetitions: the caller publishes the same messages again, in the same order.
    pub(super) async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), PublishError> {
        let producer = self.current();
        let work = async {
            for wave in waves(messages) {
                send(&producer, topic, &wave).await?;
            }
            Ok(())
        };
        let published = tokio::time::timeout(PUBLICATION, work)
            .await
            .unwrap_or_else(|_| Err(PublishError::TimedOut(topic.to_owned())));
        match &published {
            Ok(()) | Err(PublishError::TooLarge { .. }) => {}
            Err(PublishError::Kafka { .. } | PublishError::TimedOut(_) | PublishError::Unconfirmed(_)) => {
                self.replace(&producer);
            }
        }
        published
    }

    /// Replaces a failed client. A client that lost a message no longer guarantees the order, and one with a fatal
    /// error never works again. The old client is closed after its last concurrent `publish`, and discards its queue.
    fn replace(&self, failed: &Arc<BackgroundClose<FutureProducer<Log>>>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, failed) {
            match producer(&self.settings) {
                Ok(new) => *current = new,
                Err(error) => tracing::warn!(%error, "the client of Kafka could not be replaced"),
            }
        }
    }
}

fn producer(settings: &Settings) -> KafkaResult<Arc<BackgroundClose<FutureProducer<Log>>>> {
    let client = settings.producer().create_with_context(settings.log().clone())?;
    Ok(Arc::new(BackgroundClose::new(client)))
}

/// Sends messages with different keys concurrently, and waits for all confirmations.
async fn send(producer: &FutureProducer<Log>, topic: &str, wave: &[Message]) -> Result<(), PublishError> {
    let fails = |error| PublishError::Kafka {
        topic: topic.to_owned(),
        error,
    };
    let mut sent = Vec::with_capacity(wave.len());
    let mut outcome = Ok(());
    for message in wave {
        let record = FutureRecord::to(topic)
            .key(&message.key)
            .payload(message.value.as_ref())
            .headers(owned_headers(&message.headers));
        match producer.send_result(record) {
            Ok(report) => sent.push(report),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                let (topic, bytes) = (topic.to_owned(), message.value.len());
                outcome = Err(PublishError::TooLarge { topic, bytes });
                break;
            }
            Err((error, _)) => {
                outcome = Err(fails(error));
                break;
            }
        }
    }
    for report in join_all(sent).await {
        match report {
            Ok(Ok(delivery)) if delivery.offset >= 0 => {}
            // librdkafka only infers that the message was written: the broker has not confirmed it.
            Ok(Ok(_)) => outcome = Err(PublishError::Unconfirmed(topic.to_owned())),
            Ok(Err((error, _))) => outcome = Err(fails(error)),
            Err(_) => outcome = Err(fails(KafkaError::Canceled)),
        }
    }
    outcome
}

/// Splits messages into waves that hold each key at most once and keep the order per key. Within one wave librdkafka
/// would send later messages of a key after an earlier one has failed.
fn waves(messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut waves: Vec<Vec<Message>> = Vec::new();
    let mut next_wave: HashMap<String, usize> = HashMap::new();
    for message in messages {
        let number = next_wave.entry(message.key.clone()).or_default();
        match waves.get_mut(*number) {
            Some(wave) => wave.push(message),
            None => waves.push(vec![message]),
        }
        *number += 1;
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wave_holds_a_key_twice_and_each_key_keeps_its_order() {
        let message = |text: &str| Message {
            key: text[..1].to_owned(),
            headers: Vec::new(),
            value: text.to_owned().into(),
        };
        let texts = ["a0", "b0", "a1", "a2", "c0", "b1"];
        let waves = waves(texts.map(message).to_vec());
        let waves: Vec<Vec<&[u8]>> = waves
            .iter()
            .map(|wave| wave.iter().map(|message| message.value.as_ref()).collect())
            .collect();
        assert_eq!(waves, [vec![&b"a0"[..], b"b0", b"c0"], vec![b"a1", b"b1"], vec![b"a2"]]);
    }
}
