//! Compressed records.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use testing::{Fixture, KafkaFixture};

use crate::{
    buses::Buses,
    support::{Recorder, TOPIC, consume, event, messages, read, stop},
};

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

/// Makes the broker compress a topic.
async fn compress(fixture: &KafkaFixture, topic: &str, codec: &str) {
    let admin: AdminClient<DefaultClientContext> = fixture.client().create().unwrap();
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("compression.type", codec)
        .set("retention.ms", "-1");
    for altered in admin.alter_configs([&config], &AdminOptions::new()).await.unwrap() {
        altered.unwrap();
    }
}

#[tokio::test]
async fn events_are_applied_from_topics_with_any_codec() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    let topic = format!("{}{}", fixture.prefix, TOPIC.name);
    for (n, codec) in (0..).zip(CODECS) {
        compress(&fixture, &topic, codec).await;
        bus.publish(TOPIC.name, vec![event("a", n).to_message()]).await.unwrap();
        recorder.applied(usize::try_from(n).unwrap() + 1).await;
    }
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], [0, 1, 2, 3]);
    let all = bus.read_all(TOPIC.name).await.unwrap();
    assert!(all.iter().map(|delivery| &delivery.message).eq(&messages(&["a"], 4)));
}

#[tokio::test]
async fn records_of_producers_with_any_codec_are_read() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let topic = format!("{}{}", fixture.prefix, TOPIC.name);
    // The producer compresses only records that become smaller.
    let text = "compressible ".repeat(1_000);
    for codec in CODECS {
        let producer: FutureProducer = fixture.client().set("compression.type", codec).create().unwrap();
        let record = FutureRecord::to(&topic).key(codec).payload(&text);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    let all = read(bus.subscribe("g", TOPIC).await.unwrap().as_mut(), CODECS.len()).await;
    for codec in CODECS {
        let found = all.iter().find(|delivery| delivery.message.key == codec).unwrap();
        assert!(found.message.value == text, "{codec}");
    }
}
