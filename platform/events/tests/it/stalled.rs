//! Stalled groups.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use events::{EventBus, HandlerError, KafkaBus, KafkaOptions, dead_letter_topic};
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use testing::{KafkaFixture, SqliteFixture};

use crate::{
    buses::Buses,
    support::{Recorder, TOPIC, consume, event, soon, stop},
};

testing::contract! { stalled_suite:
    a_group_is_stalled_while_it_cannot_apply_an_event,
}

stalled_suite!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

/// Waits until the bus reports the group as stalled, or as not stalled.
async fn until_stalled(bus: &dyn EventBus, stalled: bool) {
    soon(async {
        while bus.stalled().contains("g") != stalled {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(bus.is_up().await, !stalled);
}

async fn a_group_is_stalled_while_it_cannot_apply_an_event(fixture: &dyn Buses) {
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let mends = Arc::new(AtomicBool::new(false));
    let mended = mends.clone();
    let recorder = Recorder::new(move |event, _| {
        if event.key == "a" && !mended.load(Ordering::SeqCst) {
            return Err(HandlerError::Transient("away".into()));
        }
        Ok(())
    });
    let consumer = consume("g", &bus, recorder.clone());
    bus.publish(TOPIC.name, vec![event("b", 0).to_message()]).await.unwrap();
    recorder.applied(1).await;
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    until_stalled(bus.as_ref(), true).await;
    mends.store(true, Ordering::SeqCst);
    until_stalled(bus.as_ref(), false).await;
    stop(consumer).await;
}

/// An error that librdkafka retries without reporting it.
const NOT_HERE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;

#[tokio::test]
async fn a_group_is_stalled_while_nothing_is_delivered_to_it_and_not_while_it_is_idle() {
    let kafka = MockCluster::new(1).unwrap();
    for topic in [TOPIC.name, &dead_letter_topic(TOPIC.name, "g")] {
        kafka.create_topic(topic, 1, 1).unwrap();
    }
    let bus = KafkaBus::open(KafkaOptions::at(kafka.bootstrap_servers()))
        .await
        .unwrap();
    let bus: Arc<dyn EventBus> = Arc::new(bus);
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    recorder.applied(1).await;
    // From here on no record is delivered, and no error is reported.
    kafka.request_errors(RDKafkaApiKey::Fetch, &vec![NOT_HERE; 10_000]);
    bus.publish(TOPIC.name, vec![event("a", 1).to_message()]).await.unwrap();
    until_stalled(bus.as_ref(), true).await;
    kafka.clear_request_errors(RDKafkaApiKey::Fetch);
    // The group recovers even without a new event.
    recorder.applied(2).await;
    until_stalled(bus.as_ref(), false).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], [0, 1]);
}
