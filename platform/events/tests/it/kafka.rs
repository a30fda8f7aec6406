//! Kafka only: groups with members in several processes, messages of other programs, size limits, a missing broker.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use events::{Delivery, EventBus, KafkaBus, KafkaOptions};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    mocking::MockCluster,
    producer::{FutureProducer, FutureRecord},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use runtime::telemetry::chain;
use testing::{Fixture, KafkaFixture};
use tokio::sync::watch;

use crate::{
    buses::{Buses, kafka_options},
    leader::Leader,
    support::{Recorder, TOPIC, consume, event, join_group, last, messages, number, parked, read, soon, stop},
};

/// Keys in three different partitions.
const KEYS: [&str; 3] = ["f", "a", "b"];

/// The broker's minimum (`group.min.session.timeout.ms`).
const SHORTEST_WORK: Duration = Duration::from_secs(6);

type Notes = watch::Sender<Vec<Delivery>>;

async fn ready(fixture: &KafkaFixture) -> Arc<dyn EventBus> {
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    bus
}

async fn publish(bus: &dyn EventBus, n: u32) {
    let messages = KEYS.map(|key| event(key, n).to_message()).to_vec();
    bus.publish(TOPIC.name, messages).await.unwrap();
}

fn partitions(notes: &Notes) -> BTreeSet<u32> {
    notes
        .borrow()
        .iter()
        .map(|delivery| delivery.position.partition)
        .collect()
}

#[tokio::test]
async fn members_of_a_group_share_the_partitions() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let (bus, other_process) = (ready(&fixture).await, fixture.open().await);
    let (all, first, second) = (Notes::default(), Notes::default(), Notes::default());
    let work = async {
        let mut n = 0;
        // A member has partitions once it has received messages of them.
        while first.borrow().is_empty() || second.borrow().is_empty() {
            publish(bus.as_ref(), n).await;
            n += 1;
            let _ = tokio::time::timeout(Duration::from_millis(50), second.subscribe().changed()).await;
        }
        let before = KEYS.len() * usize::try_from(n).unwrap();
        soon(all.subscribe().wait_for(|all| all.len() >= before)).await.unwrap();
        for notes in [&all, &first, &second] {
            notes.send_modify(Vec::clear);
        }
        for n in n..n + 20 {
            publish(bus.as_ref(), n).await;
        }
        soon(all.subscribe().wait_for(|all| all.len() >= 60)).await.unwrap();
    };
    tokio::select! {
        () = work => {}
        () = join_group(bus.as_ref(), [&all, &first]) => {}
        () = join_group(other_process.as_ref(), [&all, &second]) => {}
    }
    assert_eq!(all.borrow().len(), 60, "each went to one of them");
    assert!(partitions(&first).is_disjoint(&partitions(&second)));
    assert_eq!(partitions(&first).len() + partitions(&second).len(), 3);
}

#[tokio::test]
async fn a_dropped_member_leaves_at_once() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = ready(&fixture).await;
    publish(bus.as_ref(), 0).await;
    let mut first = bus.subscribe("g", TOPIC).await.unwrap();
    read(first.as_mut(), 3).await;
    drop(first);
    let since = Instant::now();
    read(bus.subscribe("g", TOPIC).await.unwrap().as_mut(), 3).await;
    // A member that does not leave stays in the group for ten seconds more.
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_member_dropped_while_it_joins_leaves_at_once() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = ready(&fixture).await;
    let mut leader = Leader::of(format!("{}g", fixture.prefix), &fixture.brokers).await;
    let mut member = bus.subscribe("g", TOPIC).await.unwrap();
    let both = async { while leader.join().await < 2 {} };
    tokio::select! {
        () = soon(both) => {}
        next = member.next() => panic!("{next:?}"),
    }
    // The member waits for its assignment, and the leader does not send it.
    let next = tokio::time::timeout(Duration::from_millis(300), member.next()).await;
    assert!(next.is_err(), "{next:?}");
    drop(member);
    let since = Instant::now();
    leader.share_out().await;
    while leader.join().await > 1 {}
    // A member that does not leave stays in the group for ten seconds more.
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_member_that_was_too_slow_commits_nothing_and_rejoins() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = ready(&fixture).await;
    let slow = KafkaBus::open(KafkaOptions {
        max_work: SHORTEST_WORK,
        ..kafka_options(&fixture)
    });
    let slow = slow.await.unwrap();
    bus.publish(TOPIC.name, messages(&["a"], 5)).await.unwrap();
    let mut slow = slow.subscribe("g", TOPIC).await.unwrap();
    let deliveries = read(slow.as_mut(), 5).await;
    // The slow member works on its delivery and does not poll.
    let mut other = bus.subscribe("g", TOPIC).await.unwrap();
    assert_eq!(read(other.as_mut(), 5).await, deliveries);
    other.commit(&last(&deliveries)).await.unwrap();
    slow.commit(&[deliveries[1].position]).await.unwrap_err();
    drop(other);
    bus.publish(TOPIC.name, vec![event("a", 5).to_message()]).await.unwrap();
    let next = read(slow.as_mut(), 1).await;
    assert_eq!(number(&next[0].message), 5);
    // Positions from before the rebalance are not committed, although the partition is assigned to this member again.
    slow.commit(&[deliveries[1].position]).await.unwrap();
    slow.commit(&last(&next)).await.unwrap();
    drop(slow);
    bus.publish(TOPIC.name, vec![event("a", 6).to_message()]).await.unwrap();
    let next = read(bus.subscribe("g", TOPIC).await.unwrap().as_mut(), 1).await;
    assert_eq!(number(&next[0].message), 6);
}

#[tokio::test]
async fn shops_with_different_prefixes_are_separate() {
    let (Some(ours), Some(theirs)) = (KafkaFixture::new(), KafkaFixture::new()) else {
        return;
    };
    let (our_bus, their_bus) = (ready(&ours).await, ready(&theirs).await);
    our_bus.publish(TOPIC.name, messages(&["a"], 3)).await.unwrap();
    their_bus.publish(TOPIC.name, messages(&["z"], 3)).await.unwrap();
    for (bus, key) in [(our_bus, "a"), (their_bus, "z")] {
        let mut subscription = bus.subscribe("g", TOPIC).await.unwrap();
        let all = read(subscription.as_mut(), 3).await;
        subscription.commit(&last(&all)).await.unwrap();
        assert!(all.iter().all(|delivery| delivery.message.key == key));
        assert_eq!(bus.read_all(TOPIC.name).await.unwrap(), all);
    }
}

#[tokio::test]
async fn messages_of_other_programs_are_parked_and_block_nothing() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = ready(&fixture).await;
    let topic = format!("{}{}", fixture.prefix, TOPIC.name);
    let other: FutureProducer = fixture.client().create().unwrap();
    let id = event("x", 1).id.to_string();
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "ce_id",
            value: Some(id.as_bytes()),
        })
        .insert(Header {
            key: "ce_type",
            value: Some(&b"caf\xe9"[..]),
        })
        .insert(Header {
            key: "none",
            value: None::<&[u8]>,
        });
    let record = FutureRecord::<[u8], [u8]>::to(&topic).partition(0);
    let records = [
        // No key and no value: a tombstone on a compacted topic.
        record,
        FutureRecord::to(&topic)
            .partition(0)
            .key(&b"\xff\xfe"[..])
            .payload(&b"\x00"[..]),
        FutureRecord::to(&topic)
            .partition(0)
            .payload(&b"1"[..])
            .headers(headers),
    ];
    for record in records {
        other.send(record, Duration::from_secs(10)).await.unwrap();
    }
    publish(bus.as_ref(), 0).await;
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(3).await;
    let letters = parked(&bus, "g", 3).await;
    stop(consumer).await;
    let found: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                letter.message.key.as_str(),
                letter.message.value.as_ref(),
                letter.reason.as_str(),
            )
        })
        .collect();
    let expected: [(&str, &[u8], &str); 3] = [
        ("", b"", "header ce_id is missing"),
        ("\u{fffd}\u{fffd}", b"\x00", "header ce_id is missing"),
        ("", b"1", "header ce_source is missing"),
    ];
    assert_eq!(found, expected);
    assert_eq!(letters[2].message.header("ce_type"), Some("caf\u{fffd}"));
    assert_eq!(letters[2].message.header("none"), Some(""));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = ready(&fixture).await;
    let mut large = event("a", 0).to_message();
    large.value = vec![b'x'; 5 << 20].into();
    let refused = bus.publish(TOPIC.name, vec![large]).await.unwrap_err();
    assert!(
        chain(&refused).ends_with("happenings: a message of 5242880 bytes is too large"),
        "{refused:?}"
    );
    // The largest message that client and broker take.
    let mut largest = event("a", 1).to_message();
    largest.value = vec![b'x'; (4 << 20) - 1024].into();
    bus.publish(TOPIC.name, vec![largest.clone()]).await.unwrap();
    let all = read(bus.subscribe("g", TOPIC).await.unwrap().as_mut(), 1).await;
    assert!(all[0].message == largest);
}

/// Runs on librdkafka's mock cluster, which fails on request.
#[tokio::test]
async fn a_client_with_a_fatal_error_is_replaced() {
    let kafka = MockCluster::new(1).unwrap();
    kafka.create_topic(TOPIC.name, 1, 1).unwrap();
    let bus = KafkaBus::open(KafkaOptions::at(kafka.bootstrap_servers()))
        .await
        .unwrap();
    let all = messages(&["a"], 3);
    bus.publish(TOPIC.name, all[..1].to_vec()).await.unwrap();
    // This error tells an idempotent producer that an earlier message was lost. It is fatal for the producer.
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    kafka.request_errors(RDKafkaApiKey::Produce, &[fatal]);
    bus.publish(TOPIC.name, all[1..2].to_vec()).await.unwrap_err();
    for message in &all[1..] {
        bus.publish(TOPIC.name, vec![message.clone()]).await.unwrap();
    }
    let arrived = bus.read_all(TOPIC.name).await.unwrap();
    assert!(arrived.iter().map(|delivery| &delivery.message).eq(&all));
}

#[tokio::test]
async fn a_deleted_topic_is_created_again() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = ready(&fixture).await;
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    bus.publish(TOPIC.name, messages(&KEYS, 4)).await.unwrap();
    recorder.applied(12).await;
    fixture.delete_topics().await;
    soon(async {
        while bus
            .publish(TOPIC.name, messages(&["f", "a", "b", "c"], 2))
            .await
            .is_err()
        {}
    })
    .await;
    recorder.applied(20).await;
    stop(consumer).await;
    let all = bus.read_all(TOPIC.name).await.unwrap();
    let partitions: BTreeSet<u32> = all.iter().map(|delivery| delivery.position.partition).collect();
    assert_eq!(partitions.len(), 3, "it has its partitions again");
}

#[tokio::test]
async fn publishing_to_a_missing_topic_fails() {
    let Some(fixture) = KafkaFixture::new() else { return };
    let bus = fixture.open().await;
    let refused = bus.publish(TOPIC.name, messages(&["a"], 1)).await.unwrap_err();
    assert!(chain(&refused).contains(TOPIC.name), "{refused:?}");
    assert_eq!(bus.read_all(TOPIC.name).await.unwrap(), []);
}

#[tokio::test]
async fn without_a_broker_opening_fails_with_one_line() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let since = Instant::now();
    let Err(refused) = KafkaBus::open(KafkaOptions::at(&address)).await else {
        panic!("there is no broker")
    };
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    let text = refused.to_string();
    assert!(
        text.starts_with(&format!("KAFKA_BROKERS: no broker answers at {address}: ")),
        "{text}"
    );
    assert!(
        text.contains("Connection refused") && text.lines().count() == 1,
        "{text}"
    );
    let Err(refused) = KafkaBus::open(KafkaOptions::at(" ")).await else {
        panic!("there is no address")
    };
    assert_eq!(
        refused.to_string(),
        "KAFKA_BROKERS: names no broker; it wants host:port"
    );
}

#[tokio::test]
async fn the_retention_of_an_existing_topic_is_disabled_and_its_other_settings_stay() {
    let Some(fixture) = KafkaFixture::new() else {
        return;
    };
    let admin: AdminClient<DefaultClientContext> = fixture.client().create().unwrap();
    let (name, options) = (format!("{}{}", fixture.prefix, TOPIC.name), AdminOptions::new());
    let forgets = NewTopic::new(&name, 1, TopicReplication::Fixed(-1))
        .set("retention.ms", "604800000")
        .set("compression.type", "gzip");
    admin
        .create_topics([&forgets], &options)
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let bus = ready(&fixture).await;
    let resource = [ResourceSpecifier::Topic(&name)];
    let found = admin
        .describe_configs(&resource, &options)
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let value = |name| found.get(name).unwrap().value.clone().unwrap();
    assert_eq!(
        ["retention.ms", "retention.bytes", "compression.type"].map(value),
        ["-1", "-1", "gzip"]
    );
    // The topic works with its own number of partitions.
    publish(bus.as_ref(), 0).await;
    assert_eq!(bus.read_all(TOPIC.name).await.unwrap().len(), 3);
}
