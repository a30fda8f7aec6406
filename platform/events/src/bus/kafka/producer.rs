//! Publishing: durable when it returns, and never a later message of a key before an earlier one.

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
    closing::Closing,
    record::owned_headers,
};
use crate::Message;

/// Why messages were not published, as far as is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("topic {topic}: {error}")]
    Kafka { topic: String, error: KafkaError },
    #[error("topic {topic}: a message of {bytes} bytes is too large")]
    TooLarge { topic: String, bytes: usize },
    #[error("topic {0}: no broker has confirmed the messages within {PUBLICATION:?}")]
    TimedOut(String),
    #[error("topic {0}: a message was confirmed without its offset")]
    Unproved(String),
}

/// Publishes through one client at a time, and through a new one after a failure.
pub(super) struct Publisher {
    settings: Settings,
    current: Mutex<Arc<Closing<FutureProducer<Log>>>>,
}

impl Publisher {
    pub(super) fn new(settings: Settings) -> KafkaResult<Self> {
        let current = Mutex::new(producer(&settings)?);
        Ok(Self { settings, current })
    }

    /// The client of this moment, for questions too.
    pub(super) fn current(&self) -> Arc<Closing<FutureProducer<Log>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends when all messages are durable, or at the first that is not. Then nobody waits for any of them in the client any
    /// more: what it might still send are repetitions of what the caller is going to publish again in the same order.
    pub(super) async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), Failure> {
        let producer = self.current();
        let work = async {
            for wave in waves(messages) {
                send(&producer, topic, &wave).await?;
            }
            Ok(())
        };
        let published = tokio::time::timeout(PUBLICATION, work)
            .await
            .unwrap_or_else(|_| Err(Failure::TimedOut(topic.to_owned())));
        match &published {
            Ok(()) | Err(Failure::TooLarge { .. }) => {}
            Err(Failure::Kafka { .. } | Failure::TimedOut(_) | Failure::Unproved(_)) => self.replace(&producer),
        }
        published
    }

    /// A client that lost a message has no order to offer any more, and one that met a fatal error does nothing ever again.
    /// Others may be waiting for their messages in it, so it ends with the last of them; what is in it then is thrown away.
    fn replace(&self, failed: &Arc<Closing<FutureProducer<Log>>>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, failed) {
            match producer(&self.settings) {
                Ok(new) => *current = new,
                Err(error) => tracing::warn!(%error, "the client of Kafka could not be replaced"),
            }
        }
    }
}

fn producer(settings: &Settings) -> KafkaResult<Arc<Closing<FutureProducer<Log>>>> {
    let client = settings.producer().create_with_context(settings.log().clone())?;
    Ok(Arc::new(Closing::new(client)))
}

/// Sends messages of different keys side by side, and ends when each of them has its answer.
async fn send(producer: &FutureProducer<Log>, topic: &str, wave: &[Message]) -> Result<(), Failure> {
    let fails = |error| Failure::Kafka {
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
                outcome = Err(Failure::TooLarge { topic, bytes });
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
            // librdkafka infers that it was written; the broker has not said so.
            Ok(Ok(_)) => outcome = Err(Failure::Unproved(topic.to_owned())),
            Ok(Err((error, _))) => outcome = Err(fails(error)),
            Err(_) => outcome = Err(fails(KafkaError::Canceled)),
        }
    }
    outcome
}

/// The messages in rows: each holds a key once, and those of a key are in the rows in their order. librdkafka would send the
/// next ones of a key although the one before them has failed.
fn waves(messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut waves: Vec<Vec<Message>> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for message in messages {
        let row = seen.entry(message.key.clone()).or_default();
        match waves.get_mut(*row) {
            Some(wave) => wave.push(message),
            None => waves.push(vec![message]),
        }
        *row += 1;
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
