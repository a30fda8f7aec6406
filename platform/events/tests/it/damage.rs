//! Records that cannot be read. A real broker refuses them; librdkafka's mock broker stores any bytes.

use std::sync::Arc;

use bytes::BufMut;
use events::{EventBus, KafkaBus, KafkaOptions, dead_letter_topic};
use rdkafka::mocking::MockCluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Recorder, TOPIC, consume, event, number, parked, stop};

const PRODUCE: (i16, i16) = (0, 7);
const GZIP: i16 = 1;
/// An unassigned codec.
const UNKNOWN: i16 = 6;

/// The damage of a batch.
#[derive(Clone, Copy)]
struct Damage {
    codec: i16,
    records: i32,
    is_sum_right: bool,
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

/// A record batch (<https://kafka.apache.org/documentation/#recordbatch>) with garbage instead of records.
fn batch(damage: Damage) -> Vec<u8> {
    let mut summed = Vec::new();
    summed.put_i16(damage.codec);
    summed.put_i32(damage.records - 1);
    // First and last timestamp, producer id, producer epoch, base sequence.
    summed.put_i64(0);
    summed.put_i64(0);
    summed.put_i64(-1);
    summed.put_i16(-1);
    summed.put_i32(-1);
    summed.put_i32(damage.records);
    summed.put_slice(b"this is not what a record looks like");
    let sum = crc32c(&summed) ^ u32::from(!damage.is_sum_right);
    let mut batch = Vec::new();
    batch.put_i64(0);
    // The length of what follows, leader epoch, format, checksum, and the bytes that it covers.
    batch.put_i32(i32::try_from(4 + 1 + 4 + summed.len()).unwrap());
    batch.put_i32(0);
    batch.put_i8(2);
    batch.put_u32(sum);
    batch.put_slice(&summed);
    batch
}

fn put(to: &mut Vec<u8>, text: &str) {
    to.put_i16(i16::try_from(text.len()).unwrap());
    to.put_slice(text.as_bytes());
}

/// Sends a raw batch to the first partition of the topic.
async fn send(brokers: &str, batch: &[u8]) {
    let mut request = Vec::new();
    request.put_i16(PRODUCE.0);
    request.put_i16(PRODUCE.1);
    request.put_i32(0);
    put(&mut request, "stranger");
    // No transaction, acks of all replicas, ten seconds; one topic, one partition.
    request.put_i16(-1);
    request.put_i16(-1);
    request.put_i32(10_000);
    request.put_i32(1);
    put(&mut request, TOPIC.name);
    request.put_i32(1);
    request.put_i32(0);
    request.put_i32(i32::try_from(batch.len()).unwrap());
    request.put_slice(batch);
    let mut connection = TcpStream::connect(brokers).await.unwrap();
    connection
        .write_i32(i32::try_from(request.len()).unwrap())
        .await
        .unwrap();
    connection.write_all(&request).await.unwrap();
    let length = connection.read_u32().await.unwrap();
    let mut answer = vec![0; usize::try_from(length).unwrap()];
    connection.read_exact(&mut answer).await.unwrap();
    // After the correlation id, the array of topics with its name, and the array of partitions with its number.
    let at = 4 + 4 + 2 + TOPIC.name.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "the broker took it");
}

/// A broker with alternating good events and unreadable batches.
async fn kafka(
    damages: &[Damage],
) -> (
    MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    Arc<dyn EventBus>,
) {
    let kafka = MockCluster::new(1).unwrap();
    for topic in [TOPIC.name, &dead_letter_topic(TOPIC.name, "g")] {
        kafka.create_topic(topic, 1, 1).unwrap();
    }
    let brokers = kafka.bootstrap_servers();
    let bus = KafkaBus::open(KafkaOptions::at(&brokers)).await.unwrap();
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    for (n, damage) in (1..).zip(damages) {
        send(&brokers, &batch(*damage)).await;
        bus.publish(TOPIC.name, vec![event("a", n).to_message()]).await.unwrap();
    }
    (kafka, Arc::new(bus))
}

const DAMAGES: [Damage; 3] = [
    Damage {
        codec: UNKNOWN,
        records: 3,
        is_sum_right: true,
    },
    Damage {
        codec: GZIP,
        records: 1,
        is_sum_right: true,
    },
    Damage {
        codec: 0,
        records: 2,
        is_sum_right: false,
    },
];
/// The offsets of the unreadable records, and a part of the reason for each.
const UNREADABLE: [(u64, &str); 6] = [
    (1, "Not implemented"),
    (2, "Not implemented"),
    (3, "Not implemented"),
    (5, "compressed"),
    (7, "Bad message"),
    (8, "Bad message"),
];

#[tokio::test]
async fn unreadable_records_are_parked_at_their_position_and_no_other_is_skipped() {
    let (_kafka, bus) = kafka(&DAMAGES).await;
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(4).await;
    let letters = parked(&bus, "g", UNREADABLE.len()).await;
    assert_eq!(recorder.by_key()["a"], [0, 1, 2, 3]);
    assert_eq!(letters.len(), UNREADABLE.len());
    for ((offset, why), letter) in UNREADABLE.iter().zip(&letters) {
        assert_eq!(letter.origin, format!("{}/0/{offset}", TOPIC.name));
        let is_said = letter.reason.starts_with("the record cannot be read: ");
        assert!(is_said && letter.reason.contains(why), "{offset}: {}", letter.reason);
    }
    assert!(bus.is_up().await);
    stop(consumer).await;
    // Parked records are committed: the next member does not receive them.
    bus.publish(TOPIC.name, vec![event("a", 4).to_message()]).await.unwrap();
    let next = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, next.clone());
    next.applied(1).await;
    stop(consumer).await;
    assert_eq!(next.by_key()["a"], [4]);
    assert_eq!(parked(&bus, "g", 0).await.len(), UNREADABLE.len());
}

#[tokio::test]
async fn a_topic_with_unreadable_records_is_read_to_its_end() {
    let (_kafka, bus) = kafka(&DAMAGES).await;
    let all = bus.read_all(TOPIC.name).await.unwrap();
    let offsets: Vec<_> = all.iter().map(|delivery| delivery.position.offset).collect();
    assert_eq!(offsets, (0..10).collect::<Vec<_>>());
    let (unreadable, good): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.message.unreadable().is_some());
    assert_eq!(unreadable.len(), UNREADABLE.len());
    let numbers: Vec<_> = good.iter().map(|delivery| number(&delivery.message)).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}
