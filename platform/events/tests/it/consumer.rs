//! Consumers: every event is applied once in effect, and in order per key.

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
use runtime::{CrashPoints, RequestContext};
use storage::{Migrations, Sqlite, SqliteOptions};
use tokio::sync::{Semaphore, watch};

use crate::support::{
    Recorder, TOPIC, consume, event, in_order, messages, number, parked, read, soon, sqlite_bus, stop,
};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn bus_with(folder: &tempfile::TempDir, count: u32) -> Arc<dyn EventBus> {
    let bus = sqlite_bus(folder.path()).await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    bus.publish(TOPIC.name, messages(&KEYS, count)).await.unwrap();
    bus
}

fn transient() -> HandlerError {
    HandlerError::Transient("away for a moment".into())
}

#[tokio::test]
async fn every_event_is_applied_in_the_order_of_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 50).await;
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

#[tokio::test]
async fn a_consumer_may_start_before_its_topic_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let bus = sqlite_bus(folder.path()).await;
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    bus.publish(TOPIC.name, messages(&KEYS, 1)).await.unwrap();
    recorder.applied(5).await;
    stop(consumer).await;
}

#[tokio::test]
async fn a_failure_that_passes_costs_neither_events_nor_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 6).await;
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

#[tokio::test]
async fn a_key_that_fails_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 4).await;
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
    recorder.applied(16).await;
    let mut others = in_order(&KEYS, 4);
    others.remove("a");
    assert_eq!(recorder.by_key(), others);
    mends.store(true, Ordering::SeqCst);
    recorder.applied(20).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key(), in_order(&KEYS, 4));
}

#[tokio::test]
async fn an_event_is_applied_in_the_context_of_the_request_that_caused_it() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 2).await;
    let recorder = Recorder::new(|event, _| match RequestContext::current() {
        Some(context) if context == event.context => Ok(()),
        other => Err(HandlerError::Poisoned(format!("in the context of {other:?}"))),
    });
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(10).await;
    stop(consumer).await;
}

/// A handler with an effect and an inbox, in one transaction.
struct Effects {
    db: Sqlite,
    applied: watch::Sender<usize>,
    /// What it may still apply before it hangs.
    permits: Semaphore,
}

impl Effects {
    async fn open(folder: &tempfile::TempDir, permits: usize) -> Arc<Self> {
        let migrations = Migrations(&[
            inbox::SQLITE_SCHEMA,
            "CREATE TABLE effects (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL) STRICT",
        ]);
        let path = folder.path().join("effects.db");
        let options = SqliteOptions {
            path: &path,
            migrations,
            crash: &CrashPoints::none(),
        };
        let db = Sqlite::open(options).await.unwrap();
        Arc::new(Self {
            db,
            applied: watch::Sender::new(0),
            permits: Semaphore::new(permits),
        })
    }

    /// Ends when so many events were handled.
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
    async fn handle(&self, event: &Event) -> Result<(), HandlerError> {
        self.permits.acquire().await.unwrap().forget();
        let (id, key, n) = (event.id, event.key.clone(), number(&event.to_message()));
        let write = self.db.write("test.effect", move |tx| {
            async move {
                if inbox::first_time(tx, "effects", id, Timestamp::UNIX_EPOCH).await? {
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

#[tokio::test]
async fn a_redelivery_from_the_start_has_no_second_effect() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 20).await;
    let effects = Effects::open(&folder, Semaphore::MAX_PERMITS).await;
    // Groups that are new to the bus read the topic from its beginning; the inbox is that of one.
    for (round, group) in (1..).zip(["first", "second", "third"]) {
        let consumer = consume(group, &bus, effects.clone());
        effects.handled(round * 100).await;
        stop(consumer).await;
        assert_eq!(effects.by_key().await, in_order(&KEYS, 20));
    }
}

#[tokio::test]
async fn the_inbox_tells_groups_apart_and_goes_with_its_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let db = Effects::open(&folder, 0).await.db.clone();
    let note = |group: &'static str, fails: bool| {
        let work = db.write("test.inbox", move |tx| {
            async move {
                let first = inbox::first_time(tx, group, event("a", 0).id, Timestamp::UNIX_EPOCH).await?;
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

#[tokio::test]
async fn a_stop_in_the_middle_and_a_start_apply_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 60).await;
    for permits in [7, 100, 33] {
        let effects = Effects::open(&folder, permits).await;
        let consumer = consume("g", &bus, effects.clone());
        // All hang behind the last permit.
        effects.handled(permits).await;
        stop(consumer).await;
    }
    let effects = Effects::open(&folder, Semaphore::MAX_PERMITS).await;
    let consumer = consume("g", &bus, effects.clone());
    soon(async { while effects.by_key().await != in_order(&KEYS, 60) {} }).await;
    stop(consumer).await;
    assert_eq!(effects.by_key().await, in_order(&KEYS, 60));
}

#[tokio::test]
async fn the_committed_offset_never_passes_an_event_that_was_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 3).await;
    let (attempts, mut attempted) = watch::channel(0);
    let recorder = Recorder::new(move |event, attempt| {
        if event.key == "b" && number(&event.to_message()) == 1 {
            attempts.send_replace(attempt);
            return Err(transient());
        }
        Ok(())
    });
    let consumer = consume("g", &bus, recorder.clone());
    // All but two of one key.
    recorder.applied(13).await;
    soon(attempted.wait_for(|attempt| *attempt >= 3)).await.unwrap();
    stop(consumer).await;
    let again = read(bus.subscribe("g", TOPIC).await.unwrap().as_mut(), 15).await;
    assert!(
        again
            .iter()
            .any(|delivery| delivery.message == event("b", 1).to_message())
    );
}

#[tokio::test]
async fn what_was_applied_and_committed_does_not_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let bus = bus_with(&folder, 4).await;
    let first = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, first.clone());
    first.applied(20).await;
    // The next delivery is read when the offsets of the last one are committed.
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
