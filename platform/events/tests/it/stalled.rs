//! Groups that make no progress while there is something to do.

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
    places::Buses,
    support::{Recorder, TOPIC, consume, event, soon, stop},
};

testing::contract! { stalled_suite:
    a_group_that_cannot_apply_an_event_for_long_has_stalled_until_it_can,
}

stalled_suite!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

/// Ends when the bus says so of the group.
async fn until_stalled(bus: &dyn EventBus, stalled: bool) {
    soon(async {
        while bus.stalled().contains("g") != stalled {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(bus.is_up().await, !stalled);
}

async fn a_group_that_cannot_apply_an_event_for_long_has_stalled_until_it_can(fixture: &dyn Buses) {
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

/// Whether a broker would say it of a replica that has lost its place: librdkafka asks again and tells nobody.
const NOT_HERE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;

#[tokio::test]
async fn a_group_that_is_not_given_what_there_is_has_stalled_and_an_idle_one_has_not() {
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
    // Nothing comes any more, and nobody says why.
    kafka.request_errors(RDKafkaApiKey::Fetch, &vec![NOT_HERE; 10_000]);
    bus.publish(TOPIC.name, vec![event("a", 1).to_message()]).await.unwrap();
    until_stalled(bus.as_ref(), true).await;
    kafka.clear_request_errors(RDKafkaApiKey::Fetch);
    // With nothing new to apply, too.
    recorder.applied(2).await;
    until_stalled(bus.as_ref(), false).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], [0, 1]);
}
