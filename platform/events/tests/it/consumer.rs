//! Consumers apply every event once in effect, and in order per key.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use events::{Event, EventBus, Handler, HandlerError, inbox};
use futures::FutureExt;
use jiff::Timestamp;
use runtime::{Points, RequestContext};
use storage::{Migrations, Sqlite, SqliteOptions};
use testing::{KafkaFixture, SqliteFixture};
use tokio::sync::{Semaphore, watch};

use crate::{
    buses::Buses,
    support::{KIND, Recorder, TOPIC, consume, event, in_order, messages, number, parked, read, soon, stop},
};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// All in one partition, so that a new consumer gets their messages in one delivery.
const NEIGHBOURS: [&str; 4] = ["a", "c", "h", "l"];

testing::contract! { consumer_suite:
    events_are_applied_in_the_order_of_their_key,
    a_consumer_may_start_before_its_topic_exists,
    transient_failures_lose_no_event_and_keep_the_order,
    a_failing_key_does_not_block_other_keys,
    an_event_is_applied_in_the_context_of_the_request_that_caused_it,
    a_redelivery_of_the_whole_topic_has_no_second_effect,
    a_restart_in_the_middle_applies_every_event_once,
    the_committed_offset_never_passes_an_event_that_was_not_applied,
    committed_events_are_not_delivered_again,
}

consumer_suite!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

async fn bus_with(fixture: &dyn Buses, count: u32) -> Arc<dyn EventBus> {
    bus_with_keys(fixture, &KEYS, count).await
}

async fn bus_with_keys(fixture: &dyn Buses, keys: &[&str], count: u32) -> Arc<dyn EventBus> {
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    bus.publish(TOPIC.name, messages(keys, count)).await.unwrap();
    bus
}

fn transient() -> HandlerError {
    HandlerError::Transient("away for a moment".into())
}

async fn events_are_applied_in_the_order_of_their_key(fixture: &dyn Buses) {
    let bus = bus_with(fixture, 50).await;
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(250).await;
    bus.publish(TOPIC.name, vec![event("a", 50).to_message()])
        .await
        .unwrap();
    recorder.applied(251).await;
    stop(consumer).await;
    let mut expected = in_order(&KEYS, 50);
    expected.get_mut("a").unwrap().push(50);
    assert_eq!(recorder.by_key(), expected);
}

async fn a_consumer_may_start_before_its_topic_exists(fixture: &dyn Buses) {
    let bus = fixture.open().await;
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    bus.publish(TOPIC.name, messages(&KEYS, 1)).await.unwrap();
    recorder.applied(5).await;
    stop(consumer).await;
}

async fn transient_failures_lose_no_event_and_keep_the_order(fixture: &dyn Buses) {
    let bus = bus_with(fixture, 6).await;
    let recorder = Recorder::new(|event, attempt| {
        let fails = event.key != "c" && number(&event.to_message()) % 3 == 1 && attempt <= 2;
        if fails { Err(transient()) } else { Ok(()) }
    });
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(30).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key(), in_order(&KEYS, 6));
    assert!(parked(&bus, "g", 0).await.is_empty());
}

async fn a_failing_key_does_not_block_other_keys(fixture: &dyn Buses) {
    let bus = bus_with_keys(fixture, &NEIGHBOURS, 4).await;
    let mends = Arc::new(AtomicBool::new(false));
    let mended = mends.clone();
    let recorder = Recorder::new(move |event, _| {
        if event.key == "a" && !mended.load(Ordering::SeqCst) {
            Err(transient())
        } else {
            Ok(())
        }
    });
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(12).await;
    let mut others = in_order(&NEIGHBOURS, 4);
    others.remove("a");
    assert_eq!(recorder.by_key(), others);
    mends.store(true, Ordering::SeqCst);
    recorder.applied(16).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key(), in_order(&NEIGHBOURS, 4));
}

async fn an_event_is_applied_in_the_context_of_the_request_that_caused_it(fixture: &dyn Buses) {
    let bus = bus_with(fixture, 2).await;
    let recorder = Recorder::new(|event, _| match RequestContext::current() {
        Some(context) if context == event.context => Ok(()),
        other => Err(HandlerError::Poisoned(format!("in the context of {other:?}"))),
    });
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(10).await;
    stop(consumer).await;
}

/// A handler that writes an effect and an inbox entry in one transaction.
struct Effects {
    db: Sqlite,
    applied: watch::Sender<usize>,
    /// The number of events that it applies before it blocks.
    permits: Semaphore,
}

impl Effects {
    async fn open(folder: &tempfile::TempDir, permits: usize) -> Arc<Self> {
        let migrations = Migrations(&[
            inbox::sqlite::SCHEMA,
            "CREATE TABLE effects (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL) STRICT",
        ]);
        let path = folder.path().join("effects.db");
        let options = SqliteOptions {
            path: &path,
            migrations,
            points: &Points::none(),
        };
        let db = Sqlite::open(options).await.unwrap();
        Arc::new(Self {
            db,
            applied: watch::Sender::new(0),
            permits: Semaphore::new(permits),
        })
    }

    /// Waits until so many events were handled.
    async fn handled(&self, count: usize) {
        soon(self.applied.subscribe().wait_for(|applied| *applied >= count))
            .await
            .unwrap();
    }

    async fn by_key(&self) -> BTreeMap<String, Vec<u32>> {
        let rows: Vec<(String, u32)> = sqlx::query_as("SELECT key, n FROM effects ORDER BY seq")
            .fetch_all(self.db.reader())
            .await
            .unwrap();
        let mut keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (key, n) in rows {
            keys.entry(key).or_default().push(n);
        }
        keys
    }
}

#[async_trait]
impl Handler for Effects {
    fn kinds(&self) -> &'static [&'static str] {
        &[KIND]
    }

    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        self.permits.acquire().await.unwrap().forget();
        let (id, key, n) = (event.id, event.key.clone(), number(&event.to_message()));
        let write = self.db.write("test.effect", move |tx| {
            async move {
                if inbox::sqlite::first_time(tx, "effects", id, Timestamp::UNIX_EPOCH).await? {
                    sqlx::query("INSERT INTO effects (key, n) VALUES (?, ?)")
                        .bind(key)
                        .bind(n)
                        .execute(tx)
                        .await?;
                }
                Ok(())
            }
            .boxed()
        });
        write.await?;
        self.applied.send_modify(|applied| *applied += 1);
        Ok(())
    }
}

async fn a_redelivery_of_the_whole_topic_has_no_second_effect(fixture: &dyn Buses) {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(fixture, 20).await;
    let effects = Effects::open(&folder, Semaphore::MAX_PERMITS).await;
    // A new group reads the topic from its beginning. All groups here share one inbox.
    for (round, group) in (1..).zip(["first", "second", "third"]) {
        let consumer = consume(group, &bus, effects.clone());
        effects.handled(round * 100).await;
        stop(consumer).await;
        assert_eq!(effects.by_key().await, in_order(&KEYS, 20));
    }
}

#[tokio::test]
async fn inbox_entries_belong_to_a_group_and_commit_with_their_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let db = Effects::open(&folder, 0).await.db.clone();
    let note = |group: &'static str, fails: bool| {
        let work = db.write("test.inbox", move |tx| {
            async move {
                let first = inbox::sqlite::first_time(tx, group, event("a", 0).id, Timestamp::UNIX_EPOCH).await?;
                if fails {
                    Err(storage::StoreError::Conflict)
                } else {
                    Ok(first)
                }
            }
            .boxed()
        });
        async { work.await.ok() }
    };
    assert_eq!(note("one", true).await, None);
    assert_eq!(note("one", false).await, Some(true));
    assert_eq!(note("one", false).await, Some(false));
    assert_eq!(note("two", false).await, Some(true));
}

async fn a_restart_in_the_middle_applies_every_event_once(fixture: &dyn Buses) {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(fixture, 60).await;
    for permits in [7, 100, 33] {
        let effects = Effects::open(&folder, permits).await;
        let consumer = consume("g", &bus, effects.clone());
        // The handler blocks on all further events.
        effects.handled(permits).await;
        stop(consumer).await;
    }
    let effects = Effects::open(&folder, Semaphore::MAX_PERMITS).await;
    let consumer = consume("g", &bus, effects.clone());
    soon(async { while effects.by_key().await != in_order(&KEYS, 60) {} }).await;
    stop(consumer).await;
    assert_eq!(effects.by_key().await, in_order(&KEYS, 60));
}

async fn the_committed_offset_never_passes_an_event_that_was_not_applied(fixture: &dyn Buses) {
    let bus = bus_with_keys(fixture, &NEIGHBOURS, 3).await;
    let (attempts, mut attempted) = watch::channel(0);
    let recorder = Recorder::new(move |event, attempt| {
        if event.key == "c" && number(&event.to_message()) == 1 {
            attempts.send_replace(attempt);
            return Err(transient());
        }
        Ok(())
    });
    let consumer = consume("g", &bus, recorder.clone());
    // Two events of key `c` are not applied.
    recorder.applied(10).await;
    soon(attempted.wait_for(|attempt| *attempt >= 3)).await.unwrap();
    stop(consumer).await;
    let again = read(bus.subscribe("g", TOPIC).await.unwrap().as_mut(), 12).await;
    assert!(
        again
            .iter()
            .any(|delivery| delivery.message == event("c", 1).to_message())
    );
}

async fn committed_events_are_not_delivered_again(fixture: &dyn Buses) {
    let bus = bus_with(fixture, 4).await;
    let first = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, first.clone());
    first.applied(20).await;
    // The consumer reads the next delivery after it has committed the last one.
    bus.publish(TOPIC.name, messages(&["z"], 1)).await.unwrap();
    first.applied(21).await;
    stop(consumer).await;
    let second = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, second.clone());
    bus.publish(TOPIC.name, vec![event("z", 1).to_message()]).await.unwrap();
    let applied = soon(async {
        loop {
            let applied = second.applied(1).await;
            if applied.contains(&("z".to_owned(), 1)) {
                return applied;
            }
        }
    })
    .await;
    stop(consumer).await;
    assert!(applied.iter().all(|(key, _)| key == "z"), "{applied:?}");
}
