//! The relay, between an outbox and a bus that fails.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use events::{Event, EventBus, Outbox, Relay, RelayWaker, SqliteOutbox, Topic, outbox::sqlite};
use futures::{FutureExt, future::join_all};
use runtime::{Clock, Points, Tasks, deadlines::PUBLICATION};
use storage::{Migrations, Sqlite, SqliteOptions};
use testing::{Fixture, KafkaFixture, SqliteFixture};

use crate::{
    buses::Buses,
    support::{FlakyBus, PublishFault, TOPIC, by_key, event, first_times, in_order, read_until, soon},
};

const OTHER: Topic = Topic {
    name: "other-happenings",
    partitions: 2,
    ..TOPIC
};
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const HOUR: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(20);

testing::contract! { relay_suite:
    without_failures_every_event_arrives_once_and_in_order,
    failures_of_the_bus_lose_no_event_and_keep_the_order,
    a_failing_bus_is_retried_with_backoff,
    a_wake_up_publishes_at_once,
    a_row_without_a_wake_up_is_published_by_the_next_poll,
    two_relays_on_one_outbox_publish_once_and_in_order,
    a_restarted_relay_regains_its_lease_at_once,
    an_expired_lease_is_taken_over,
    nothing_is_published_while_another_holds_the_lease,
    each_event_is_published_to_its_topic,
    a_failing_topic_blocks_no_other_and_keeps_its_order,
    a_hanging_topic_blocks_no_other_and_has_one_attempt,
    a_relay_creates_its_topics,
}

relay_suite!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

#[tokio::test]
async fn a_hanging_topic_delays_a_stop_by_no_more_than_a_publication() {
    let fixture = SqliteFixture::new().unwrap();
    let setup = setup(&fixture, []).await;
    setup.bus.blocked.send_replace(Some(OTHER.name));
    setup.append(OTHER, event("b", 0)).await;
    let relay = setup.start("a", HOUR, 6);
    soon(async {
        while setup.bus.publications.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(relay.stop(PUBLICATION + Duration::from_secs(5)).await);
}

/// An outbox, a bus, and the relays between them.
struct Setup {
    db: Sqlite,
    bus: Arc<FlakyBus>,
    wake: RelayWaker,
    relays: Mutex<Vec<Tasks>>,
    _folder: tempfile::TempDir,
}

async fn setup(fixture: &dyn Buses, plan: impl IntoIterator<Item = Option<PublishFault>>) -> Setup {
    let setup = setup_without_topics(fixture, plan).await;
    for topic in [TOPIC, OTHER] {
        setup.bus.ensure_topic(topic.name, topic.partitions).await.unwrap();
    }
    setup
}

async fn setup_without_topics(fixture: &dyn Buses, plan: impl IntoIterator<Item = Option<PublishFault>>) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let (migrations, points) = (Migrations(&[sqlite::SCHEMA]), &Points::none());
    let db = Sqlite::open(SqliteOptions {
        path: &path,
        migrations,
        points,
    })
    .await
    .unwrap();
    let bus = Arc::new(FlakyBus::new(fixture.open().await, plan));
    Setup {
        db,
        bus,
        wake: RelayWaker::default(),
        relays: Mutex::default(),
        _folder: folder,
    }
}

impl Setup {
    fn outbox(&self) -> SqliteOutbox {
        SqliteOutbox(self.db.clone())
    }

    fn start(&self, owner: &str, poll: Duration, batch: u32) -> Tasks {
        let relay = Relay {
            outbox: Arc::new(self.outbox()),
            bus: self.bus.clone(),
            topics: &[TOPIC, OTHER],
            wake: self.wake.clone(),
            owner: owner.to_owned(),
            poll,
            batch,
            retention: HOUR,
            clock: Clock::system(),
            points: Points::none(),
        };
        let tasks = Tasks::new();
        tasks.spawn(relay.run(tasks.clone()));
        self.relays.lock().unwrap().push(tasks.clone());
        tasks
    }

    async fn append(&self, topic: Topic, event: Event) {
        let write = self.db.write("test.append", move |tx| {
            async move { sqlite::append(tx, topic.name, &event).await }.boxed()
        });
        write.await.unwrap();
    }

    /// Appends the events `from..to` of each key: in order per key, and all keys concurrently.
    async fn append_all(&self, from: u32, to: u32) {
        let writers = KEYS.iter().map(|key| async move {
            for n in from..to {
                self.append(TOPIC, event(key, n)).await;
                self.wake.wake();
            }
        });
        join_all(writers).await;
    }

    /// Waits until so many events of each key have arrived; returns all deliveries.
    async fn arrived(&self, count: u32) -> Vec<events::Delivery> {
        let mut subscription = self.bus.subscribe("test", TOPIC).await.unwrap();
        let all = KEYS.len() * usize::try_from(count).unwrap();
        read_until(subscription.as_mut(), |read| first_times(read).len() >= all).await
    }

    /// Waits until every row is marked as published.
    async fn all_marked(&self) {
        soon(async { while !self.outbox().pending(1, &[]).await.unwrap().is_empty() {} }).await;
    }

    async fn stop(self) {
        for relay in self.relays.into_inner().unwrap() {
            assert!(relay.stop(Duration::from_secs(10)).await);
        }
    }
}

async fn without_failures_every_event_arrives_once_and_in_order(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    setup.append_all(0, 10).await;
    setup.start("a", HOUR, 7);
    setup.append_all(10, 40).await;
    assert_eq!(by_key(&setup.arrived(40).await), in_order(&KEYS, 40));
    setup.all_marked().await;
    assert_eq!(setup.bus.read_all(TOPIC.name).await.unwrap().len(), 240);
    setup.stop().await;
}

async fn failures_of_the_bus_lose_no_event_and_keep_the_order(fixture: &dyn Buses) {
    use PublishFault::{AnswerLost, NotWritten};
    let plan = [
        None,
        Some(NotWritten),
        Some(AnswerLost),
        None,
        Some(AnswerLost),
        None,
        None,
        Some(NotWritten),
        None,
        Some(AnswerLost),
    ];
    let setup = setup(fixture, plan).await;
    setup.start("a", HOUR, 5);
    setup.append_all(0, 20).await;
    let arrived = setup.arrived(20).await;
    assert_eq!(by_key(&first_times(&arrived)), in_order(&KEYS, 20));
    setup.all_marked().await;
    assert!(setup.bus.is_done(), "the bus has failed as planned");
    // Consumers recognize repetitions by the event id.
    let all = setup.bus.read_all(TOPIC.name).await.unwrap();
    assert_eq!(first_times(&all).len(), 120);
    assert!(all.len() > 120);
    setup.stop().await;
}

async fn a_failing_bus_is_retried_with_backoff(fixture: &dyn Buses) {
    let setup = setup(fixture, [Some(PublishFault::NotWritten); 5]).await;
    setup.append_all(0, 1).await;
    let since = Instant::now();
    setup.start("a", HOUR, 100);
    setup.arrived(1).await;
    // 100 ms, doubled four times.
    assert!(since.elapsed() >= Duration::from_millis(3100), "{:?}", since.elapsed());
    setup.stop().await;
}

async fn a_wake_up_publishes_at_once(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    setup.append_all(0, 1).await;
    setup.start("a", HOUR, 100);
    setup.arrived(1).await;
    // The relay has found no more rows, and would sleep for an hour.
    setup.append_all(1, 2).await;
    assert_eq!(by_key(&setup.arrived(2).await), in_order(&KEYS, 2));
    setup.stop().await;
}

async fn a_row_without_a_wake_up_is_published_by_the_next_poll(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    setup.start("a", SHORT, 100);
    for key in KEYS {
        setup.append(TOPIC, event(key, 0)).await;
    }
    assert_eq!(by_key(&setup.arrived(1).await), in_order(&KEYS, 1));
    setup.stop().await;
}

async fn two_relays_on_one_outbox_publish_once_and_in_order(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    setup.start("a", SHORT, 7);
    setup.start("b", SHORT, 7);
    setup.append_all(0, 50).await;
    assert_eq!(by_key(&setup.arrived(50).await), in_order(&KEYS, 50));
    setup.all_marked().await;
    assert_eq!(setup.bus.read_all(TOPIC.name).await.unwrap().len(), 300);
    setup.stop().await;
}

async fn a_restarted_relay_regains_its_lease_at_once(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    let first = setup.start("a", HOUR, 3);
    setup.append_all(0, 10).await;
    // The relay stops anywhere, even between a publication and its mark.
    assert!(first.stop(Duration::from_secs(10)).await);
    setup.start("a", HOUR, 3);
    setup.append_all(10, 20).await;
    assert_eq!(by_key(&first_times(&setup.arrived(20).await)), in_order(&KEYS, 20));
    setup.stop().await;
}

async fn an_expired_lease_is_taken_over(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    setup
        .outbox()
        .acquire("gone", Duration::from_millis(300))
        .await
        .unwrap()
        .unwrap();
    setup.append_all(0, 3).await;
    // The relay must retry the lease soon, although its poll interval is an hour.
    setup.start("b", HOUR, 100);
    assert_eq!(by_key(&setup.arrived(3).await), in_order(&KEYS, 3));
    setup.stop().await;
}

async fn nothing_is_published_while_another_holds_the_lease(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    setup.outbox().acquire("other", HOUR).await.unwrap().unwrap();
    let relay = setup.start("a", SHORT, 100);
    setup.append_all(0, 3).await;
    assert!(relay.stop(Duration::from_secs(10)).await);
    assert_eq!(setup.bus.read_all(TOPIC.name).await.unwrap(), []);
    assert_eq!(setup.outbox().pending(100, &[]).await.unwrap().len(), 18);
    setup.stop().await;
}

async fn each_event_is_published_to_its_topic(fixture: &dyn Buses) {
    let setup = setup(fixture, [None, Some(PublishFault::NotWritten)]).await;
    for n in 0..10 {
        setup.append(TOPIC, event("a", n)).await;
        setup.append(OTHER, event("b", n)).await;
    }
    setup.start("a", HOUR, 6);
    setup.all_marked().await;
    for (topic, key) in [(TOPIC, "a"), (OTHER, "b")] {
        let all = setup.bus.read_all(topic.name).await.unwrap();
        assert_eq!(by_key(&first_times(&all)), in_order(&[key], 10));
    }
    setup.stop().await;
}

async fn a_failing_topic_blocks_no_other_and_keeps_its_order(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    *setup.bus.broken.lock().unwrap() = Some(OTHER.name);
    for n in 0..10 {
        setup.append(OTHER, event("b", n)).await;
    }
    for n in 0..10 {
        setup.append(TOPIC, event("a", n)).await;
        setup.append(OTHER, event("b", 10 + n)).await;
    }
    // The batch is smaller than the number of blocked rows before the first row that can be published.
    setup.start("a", HOUR, 6);
    let outbox = setup.outbox();
    let all_but_broken = async { while !outbox.pending(1, &[OTHER.name]).await.unwrap().is_empty() {} };
    soon(all_but_broken).await;
    assert_eq!(setup.bus.read_all(OTHER.name).await.unwrap(), []);
    assert_eq!(outbox.pending(100, &[]).await.unwrap().len(), 20);
    let all = setup.bus.read_all(TOPIC.name).await.unwrap();
    assert_eq!(by_key(&all), in_order(&["a"], 10), "none was published twice");
    *setup.bus.broken.lock().unwrap() = None;
    setup.all_marked().await;
    let all = setup.bus.read_all(OTHER.name).await.unwrap();
    assert_eq!(by_key(&all), in_order(&["b"], 20));
    setup.stop().await;
}

async fn a_hanging_topic_blocks_no_other_and_has_one_attempt(fixture: &dyn Buses) {
    let setup = setup(fixture, []).await;
    setup.bus.blocked.send_replace(Some(OTHER.name));
    setup.append(OTHER, event("b", 0)).await;
    setup.start("a", HOUR, 6);
    let attempts = || {
        let publications = setup.bus.publications.lock().unwrap();
        publications.iter().filter(|topic| *topic == OTHER.name).count()
    };
    soon(async {
        while attempts() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let outbox = setup.outbox();
    for n in 0..10 {
        setup.append(TOPIC, event("a", n)).await;
        setup.append(OTHER, event("b", 1 + n)).await;
        setup.wake.wake();
        soon(async { while !outbox.pending(1, &[OTHER.name]).await.unwrap().is_empty() {} }).await;
    }
    assert_eq!(outbox.pending(100, &[]).await.unwrap().len(), 11);
    assert_eq!(attempts(), 1, "the first attempt still hangs");
    let all = setup.bus.read_all(TOPIC.name).await.unwrap();
    assert_eq!(by_key(&all), in_order(&["a"], 10), "none was published twice");
    setup.bus.blocked.send_replace(None);
    setup.all_marked().await;
    let all = setup.bus.read_all(OTHER.name).await.unwrap();
    assert_eq!(by_key(&all), in_order(&["b"], 11));
    setup.stop().await;
}

async fn a_relay_creates_its_topics(fixture: &dyn Buses) {
    let setup = setup_without_topics(fixture, []).await;
    setup.append(TOPIC, event("a", 0)).await;
    setup.append(OTHER, event("b", 0)).await;
    setup.start("a", HOUR, 100);
    setup.all_marked().await;
    for (topic, key) in [(TOPIC, "a"), (OTHER, "b")] {
        let all = setup.bus.read_all(topic.name).await.unwrap();
        assert_eq!(by_key(&all), in_order(&[key], 1));
    }
    setup.stop().await;
}
