//! The contract of the outbox.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use events::{
    Event, EventBus, Outbox, PostgresOutbox, Relay, RelayWaker, SqliteBus, SqliteOutbox,
    outbox::{Fence, postgres, sqlite},
};
use futures::{FutureExt, future::join_all};
use runtime::{Clock, Points, Tasks};
use storage::{Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions, StoreError};
use testing::{PostgresFixture, SqliteFixture};

use crate::support::{TOPIC, by_key, event, in_order, number, soon, stop};

const HOUR: Duration = Duration::from_hours(1);

/// An isolated store.
#[async_trait]
pub(crate) trait Stores: Send + Sync {
    /// Opens the store as another process would.
    async fn open(&self) -> Arc<dyn Store>;
}

/// A store with an outbox.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    fn outbox(&self) -> Arc<dyn Outbox>;
    /// Appends events in one transaction, which fails at its end if `fails`.
    async fn append_to(&self, topic: &'static str, events: Vec<Event>, fails: bool) -> Result<(), StoreError>;

    async fn append(&self, events: Vec<Event>, fails: bool) -> Result<(), StoreError> {
        self.append_to(TOPIC.name, events, fails).await
    }
}

#[async_trait]
impl Stores for SqliteFixture {
    async fn open(&self) -> Arc<dyn Store> {
        let options = SqliteOptions {
            path: &self.file("outbox.db"),
            migrations: Migrations(&[sqlite::SCHEMA]),
            points: &Points::none(),
        };
        Arc::new(Sqlite::open(options).await.unwrap())
    }
}

#[async_trait]
impl Store for Sqlite {
    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(SqliteOutbox(self.clone()))
    }

    async fn append_to(&self, topic: &'static str, events: Vec<Event>, fails: bool) -> Result<(), StoreError> {
        let write = self.write("test.append", move |tx| {
            async move {
                for event in &events {
                    sqlite::append(tx, topic, event).await?;
                }
                if fails {
                    Err(StoreError::unavailable("as it was told"))
                } else {
                    Ok(())
                }
            }
            .boxed()
        });
        write.await
    }
}

#[async_trait]
impl Stores for PostgresFixture {
    async fn open(&self) -> Arc<dyn Store> {
        let options = PostgresOptions {
            address: &self.address(),
            schema: &self.schema,
            migrations: Migrations(&[postgres::SCHEMA]),
            points: &Points::none(),
        };
        Arc::new(Postgres::open(options).await.unwrap())
    }
}

#[async_trait]
impl Store for Postgres {
    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(PostgresOutbox(self.clone()))
    }

    async fn append_to(&self, topic: &'static str, events: Vec<Event>, fails: bool) -> Result<(), StoreError> {
        let write = self.write("test.append", move |tx| {
            async move {
                for event in &events {
                    postgres::append(tx, topic, event).await?;
                }
                if fails {
                    Err(StoreError::unavailable("as it was told"))
                } else {
                    Ok(())
                }
            }
            .boxed()
        });
        write.await
    }
}

testing::contract! { outbox_contract:
    rows_commit_with_their_transaction,
    rows_of_a_key_are_pending_in_the_order_of_their_commits,
    a_row_is_read_back_unchanged,
    a_duplicate_event_id_is_a_conflict,
    published_rows_are_no_longer_pending,
    marking_twice_or_nothing_changes_nothing,
    marking_with_an_old_fence_is_a_conflict,
    marking_without_a_lease_is_a_conflict,
    a_lease_excludes_others_until_it_expires,
    marking_rows_extends_the_lease,
    a_lease_expires,
    an_owner_regains_its_own_lease,
    of_sixty_four_owners_one_gets_the_lease,
    published_rows_are_pruned_after_their_retention,
    rows_and_leases_survive_a_reopen,
    pending_leaves_out_the_excepted_topics,
    rows_of_a_missing_topic_block_no_other_rows,
}

outbox_contract!(on_sqlite: SqliteFixture, on_postgres: PostgresFixture);

fn events(count: u32) -> Vec<Event> {
    (0..count).map(|n| event("k", n)).collect()
}

/// The numbers of the pending events.
async fn pending(outbox: &Arc<dyn Outbox>) -> Vec<u32> {
    outbox
        .pending(1_000_000, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| number(&row.message))
        .collect()
}

async fn places(outbox: &Arc<dyn Outbox>) -> Vec<i64> {
    outbox
        .pending(1_000_000, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.seq)
        .collect()
}

async fn lease(outbox: &Arc<dyn Outbox>, owner: &str) -> Fence {
    outbox.acquire(owner, HOUR).await.unwrap().unwrap()
}

async fn rows_commit_with_their_transaction(fixture: &dyn Stores) {
    let store = fixture.open().await;
    assert!(store.append(events(3), true).await.is_err());
    assert!(pending(&store.outbox()).await.is_empty());
    store.append(events(3), false).await.unwrap();
    assert_eq!(pending(&store.outbox()).await, [0, 1, 2]);
}

async fn rows_of_a_key_are_pending_in_the_order_of_their_commits(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        async move {
            for n in 0..16 {
                let key = format!("key-{writer}");
                // Every fourth transaction fails.
                let fails = store.append(vec![event(&key, n)], n % 4 == 3).await.is_err();
                assert_eq!(fails, n % 4 == 3);
            }
        }
    });
    join_all(writers).await;
    let rows = store.outbox().pending(1_000, &[]).await.unwrap();
    assert!(rows.is_sorted_by_key(|row| row.seq));
    for writer in 0..8 {
        let key = format!("key-{writer}");
        let numbers: Vec<_> = rows
            .iter()
            .filter(|row| row.message.key == key)
            .map(|row| number(&row.message))
            .collect();
        assert_eq!(numbers, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]);
    }
    let some: Vec<i64> = store
        .outbox()
        .pending(5, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.seq)
        .collect();
    assert_eq!(some, places(&store.outbox()).await[..5]);
}

async fn a_row_is_read_back_unchanged(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let large = Event {
        data: vec![0xff; 2 << 20].into(),
        ..event("naïve \"key\"", 1)
    };
    store.append(vec![large.clone()], false).await.unwrap();
    let rows = store.outbox().pending(10, &[]).await.unwrap();
    assert_eq!((rows.len(), rows[0].topic.as_str()), (1, TOPIC.name));
    assert_eq!(Event::from_message(&rows[0].message), Ok(large));
}

async fn a_duplicate_event_id_is_a_conflict(fixture: &dyn Stores) {
    let store = fixture.open().await;
    store.append(events(1), false).await.unwrap();
    let again = store.append(vec![event("k", 7), event("k", 0)], false).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    assert_eq!(
        pending(&store.outbox()).await,
        [0],
        "nothing of that transaction is there"
    );
}

async fn published_rows_are_no_longer_pending(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let outbox = store.outbox();
    store.append(events(5), false).await.unwrap();
    let fence = lease(&outbox, "a").await;
    let rows = places(&outbox).await;
    outbox
        .mark_published(fence, HOUR, &[rows[0], rows[1], rows[3]])
        .await
        .unwrap();
    assert_eq!(pending(&outbox).await, [2, 4]);
}

async fn marking_twice_or_nothing_changes_nothing(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let outbox = store.outbox();
    store.append(events(2), false).await.unwrap();
    let fence = lease(&outbox, "a").await;
    let rows = places(&outbox).await;
    outbox.mark_published(fence, HOUR, &[]).await.unwrap();
    for _ in 0..2 {
        outbox.mark_published(fence, HOUR, &rows[..1]).await.unwrap();
    }
    assert_eq!(pending(&outbox).await, [1]);
}

async fn marking_with_an_old_fence_is_a_conflict(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let outbox = store.outbox();
    store.append(events(2), false).await.unwrap();
    let old = outbox.acquire("a", Duration::ZERO).await.unwrap().unwrap();
    let new = lease(&outbox, "b").await;
    assert!(new > old);
    let rows = places(&outbox).await;
    let marked = outbox.mark_published(old, HOUR, &rows).await;
    assert!(matches!(marked, Err(StoreError::Conflict)), "{marked:?}");
    assert_eq!(pending(&outbox).await, [0, 1]);
    outbox.mark_published(new, HOUR, &rows).await.unwrap();
}

async fn marking_without_a_lease_is_a_conflict(fixture: &dyn Stores) {
    let store = fixture.open().await;
    store.append(events(1), false).await.unwrap();
    let outbox = store.outbox();
    let marked = outbox.mark_published(Fence(1), HOUR, &places(&outbox).await).await;
    assert!(matches!(marked, Err(StoreError::Conflict)), "{marked:?}");
    assert_eq!(pending(&outbox).await, [0]);
}

async fn a_lease_excludes_others_until_it_expires(fixture: &dyn Stores) {
    let outbox = fixture.open().await.outbox();
    let first = lease(&outbox, "a").await;
    assert_eq!(outbox.acquire("b", HOUR).await.unwrap(), None);
    // The owner makes its lease expire now.
    assert_eq!(outbox.acquire("a", Duration::ZERO).await.unwrap(), Some(first));
    let second = lease(&outbox, "b").await;
    assert!(second > first);
    assert_eq!(outbox.acquire("a", HOUR).await.unwrap(), None);
}

async fn marking_rows_extends_the_lease(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let outbox = store.outbox();
    store.append(events(1), false).await.unwrap();
    let first = outbox.acquire("a", Duration::ZERO).await.unwrap().unwrap();
    outbox
        .mark_published(first, HOUR, &places(&outbox).await)
        .await
        .unwrap();
    assert_eq!(outbox.acquire("b", HOUR).await.unwrap(), None);
    outbox.mark_published(first, Duration::ZERO, &[]).await.unwrap();
    assert!(lease(&outbox, "b").await > first);
}

async fn a_lease_expires(fixture: &dyn Stores) {
    let outbox = fixture.open().await.outbox();
    let first = outbox.acquire("a", Duration::from_millis(300)).await.unwrap().unwrap();
    assert_eq!(outbox.acquire("b", HOUR).await.unwrap(), None);
    let second = soon(async {
        loop {
            if let Some(fence) = outbox.acquire("b", HOUR).await.unwrap() {
                return fence;
            }
        }
    });
    assert!(second.await > first);
}

async fn an_owner_regains_its_own_lease(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let outbox = store.outbox();
    store.append(events(1), false).await.unwrap();
    let before = lease(&outbox, "a").await;
    let after = lease(&outbox, "a").await;
    assert!(after >= before);
    outbox
        .mark_published(after, HOUR, &places(&outbox).await)
        .await
        .unwrap();
}

async fn of_sixty_four_owners_one_gets_the_lease(fixture: &dyn Stores) {
    let outbox = fixture.open().await.outbox();
    let race = |round: u32| {
        let outbox = outbox.clone();
        async move {
            let owners: Vec<String> = (0..64).map(|n| format!("{round}-{n}")).collect();
            let leases = join_all(owners.iter().map(|owner| outbox.acquire(owner, HOUR))).await;
            let won: Vec<_> = owners
                .into_iter()
                .zip(leases)
                .filter_map(|(owner, fence)| Some((owner, fence.unwrap()?)))
                .collect();
            assert_eq!(won.len(), 1);
            won.into_iter().next().unwrap()
        }
    };
    let (owner, first) = race(1).await;
    outbox.acquire(&owner, Duration::ZERO).await.unwrap();
    let (_, second) = race(2).await;
    assert!(second > first);
}

async fn published_rows_are_pruned_after_their_retention(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let outbox = store.outbox();
    store.append(events(1_500), false).await.unwrap();
    let fence = lease(&outbox, "a").await;
    outbox
        .mark_published(fence, HOUR, &places(&outbox).await[..1_400])
        .await
        .unwrap();
    assert_eq!(outbox.prune(HOUR).await.unwrap(), 0);
    assert_eq!(outbox.prune(Duration::ZERO).await.unwrap(), 1_000);
    assert_eq!(outbox.prune(Duration::ZERO).await.unwrap(), 400);
    assert_eq!(outbox.prune(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(
        pending(&outbox).await,
        (1_400..1_500).collect::<Vec<_>>(),
        "what waits is never pruned"
    );
    assert_eq!(outbox.prune(Duration::MAX).await.unwrap(), 0);
}

async fn rows_and_leases_survive_a_reopen(fixture: &dyn Stores) {
    let store = fixture.open().await;
    store.append(events(3), false).await.unwrap();
    let fence = lease(&store.outbox(), "a").await;
    store
        .outbox()
        .mark_published(fence, HOUR, &places(&store.outbox()).await[..1])
        .await
        .unwrap();
    drop(store);
    let outbox = fixture.open().await.outbox();
    assert_eq!(pending(&outbox).await, [1, 2]);
    assert_eq!(outbox.acquire("b", HOUR).await.unwrap(), None);
    let fence = lease(&outbox, "a").await;
    outbox
        .mark_published(fence, HOUR, &places(&outbox).await)
        .await
        .unwrap();
}

async fn pending_leaves_out_the_excepted_topics(fixture: &dyn Stores) {
    let store = fixture.open().await;
    for (topic, n) in [("first", 0), ("second", 1), ("third", 2), ("first", 3), ("second", 4)] {
        store.append_to(topic, vec![event("k", n)], false).await.unwrap();
    }
    let outbox = store.outbox();
    for (except, limit, expected) in [
        (&[][..], 9, vec![0, 1, 2, 3, 4]),
        (&["first"], 9, vec![1, 2, 4]),
        (&["first", "third"], 1, vec![1]),
        (&["first", "second", "third"], 9, vec![]),
        (&["fourth", "fir'st"], 2, vec![0, 1]),
    ] {
        let rows = outbox.pending(limit, except).await.unwrap();
        let numbers: Vec<_> = rows.iter().map(|row| number(&row.message)).collect();
        assert_eq!(numbers, expected, "{except:?}");
    }
}

async fn rows_of_a_missing_topic_block_no_other_rows(fixture: &dyn Stores) {
    let store = fixture.open().await;
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(&folder.path().join("bus.db"), &Points::none())
        .await
        .unwrap();
    // More rows than a batch, before the other rows and among them.
    store
        .append_to("unknown", (0..20).map(|n| event("u", n)).collect(), false)
        .await
        .unwrap();
    for n in 0..20 {
        store.append(vec![event("k", n)], false).await.unwrap();
        store
            .append_to("unknown", vec![event("u", 20 + n)], false)
            .await
            .unwrap();
    }
    let relay = Relay {
        outbox: store.outbox(),
        bus: Arc::new(bus.clone()),
        topics: &[TOPIC],
        wake: RelayWaker::default(),
        owner: "a".to_owned(),
        poll: HOUR,
        batch: 5,
        retention: HOUR,
        clock: Clock::system(),
        points: Points::none(),
    };
    let tasks = Tasks::new();
    tasks.spawn(relay.run(tasks.clone()));
    let only_unknown_wait = async { while !store.outbox().pending(100, &["unknown"]).await.unwrap().is_empty() {} };
    soon(only_unknown_wait).await;
    // The rows are published once their topic exists.
    assert_eq!(store.outbox().pending(100, &[]).await.unwrap().len(), 40);
    bus.ensure_topic("unknown", 1).await.unwrap();
    soon(async { while !store.outbox().pending(1, &[]).await.unwrap().is_empty() {} }).await;
    for (topic, key, count) in [(TOPIC.name, "k", 20), ("unknown", "u", 40)] {
        assert_eq!(by_key(&bus.read_all(topic).await.unwrap()), in_order(&[key], count));
    }
    stop(tasks).await;
}
