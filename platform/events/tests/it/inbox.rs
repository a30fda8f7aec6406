//! The contract of the inbox, and its pruner.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use events::{
    DeadLetters, EventBus, HandlerError, Inbox, InboxPruner, PostgresInbox, SqliteBus, SqliteInbox, Topic,
    inbox::{postgres, sqlite},
};
use futures::FutureExt;
use jiff::Timestamp;
use runtime::{Clock, Points};
use storage::{Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions};
use tempfile::TempDir;
use testing::{Fixture, PostgresFixture, SqliteFixture};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::support::{Recorder, TOPIC, consume, event, last, read, soon, stop};

const RETENTION: Duration = Duration::from_hours(24);
/// A second topic with the same groups.
const OTHER: Topic = Topic {
    name: "other-happenings",
    ..TOPIC
};

/// An isolated inbox.
#[async_trait]
trait Inboxes: Send + Sync {
    async fn inbox(&self) -> Arc<dyn Inbox>;
    /// Records that a group applies an event; returns whether it is the first time.
    async fn record(&self, group: &'static str, event: Uuid, at: Timestamp) -> bool;
}

/// A fixture whose database is opened once.
struct InboxFixture<F, D> {
    fixture: F,
    db: OnceCell<D>,
}

impl<F: Fixture, D: Send> Fixture for InboxFixture<F, D> {
    fn new() -> Option<Self> {
        Some(Self {
            fixture: F::new()?,
            db: OnceCell::new(),
        })
    }

    async fn close(self) {
        drop(self.db);
        self.fixture.close().await;
    }
}

type SqliteInboxes = InboxFixture<SqliteFixture, Sqlite>;
type PostgresInboxes = InboxFixture<PostgresFixture, Postgres>;

impl SqliteInboxes {
    async fn db(&self) -> &Sqlite {
        let open = async || {
            let options = SqliteOptions {
                path: &self.fixture.file("inbox.db"),
                migrations: Migrations(&[sqlite::SCHEMA, sqlite::BY_AGE]),
                points: &Points::none(),
            };
            Sqlite::open(options).await.unwrap()
        };
        self.db.get_or_init(open).await
    }
}

#[async_trait]
impl Inboxes for SqliteInboxes {
    async fn inbox(&self) -> Arc<dyn Inbox> {
        Arc::new(SqliteInbox(self.db().await.clone()))
    }

    async fn record(&self, group: &'static str, event: Uuid, at: Timestamp) -> bool {
        let db = self.db().await;
        let write = db.write("test.record", move |tx| {
            sqlite::first_time(tx, group, event, at).boxed()
        });
        write.await.unwrap()
    }
}

impl PostgresInboxes {
    async fn db(&self) -> &Postgres {
        let open = async || {
            let options = PostgresOptions {
                address: &self.fixture.address(),
                schema: &self.fixture.schema,
                migrations: Migrations(&[postgres::SCHEMA, postgres::BY_AGE]),
                points: &Points::none(),
            };
            Postgres::open(options).await.unwrap()
        };
        self.db.get_or_init(open).await
    }
}

#[async_trait]
impl Inboxes for PostgresInboxes {
    async fn inbox(&self) -> Arc<dyn Inbox> {
        Arc::new(PostgresInbox(self.db().await.clone()))
    }

    async fn record(&self, group: &'static str, event: Uuid, at: Timestamp) -> bool {
        let db = self.db().await;
        let write = db.write("test.record", move |tx| {
            postgres::first_time(tx, group, event, at).boxed()
        });
        write.await.unwrap()
    }
}

testing::contract! { inbox_contract:
    old_entries_of_a_group_are_removed_except_the_listed_ones,
    entries_are_removed_in_batches_of_a_thousand,
    entries_are_removed_after_twice_the_retention,
    entries_stay_while_a_topic_has_events_of_their_age,
    the_entry_of_a_parked_event_stays,
}

inbox_contract!(on_sqlite: SqliteInboxes, on_postgres: PostgresInboxes);

fn id(n: u32) -> Uuid {
    event("k", n).id
}

fn ago(hours: i64) -> Timestamp {
    Clock::system().now() - Duration::from_hours(hours.unsigned_abs())
}

async fn old_entries_of_a_group_are_removed_except_the_listed_ones(fixture: &dyn Inboxes) {
    for (n, hours) in [(0, 9), (1, 8), (2, 7), (3, 5)] {
        assert!(fixture.record("g", id(n), ago(hours)).await);
    }
    assert!(fixture.record("h", id(0), ago(9)).await);
    let inbox = fixture.inbox().await;
    assert_eq!(inbox.prune("g", ago(6), &[id(1), id(7)]).await.unwrap(), 2);
    assert_eq!(inbox.prune("g", ago(6), &[id(1)]).await.unwrap(), 0);
    for (group, n, is_gone) in [
        ("g", 0, true),
        ("g", 1, false),
        ("g", 2, true),
        ("g", 3, false),
        ("h", 0, false),
    ] {
        assert_eq!(fixture.record(group, id(n), ago(0)).await, is_gone, "{group} {n}");
    }
    assert_eq!(inbox.prune("g", ago(6), &[]).await.unwrap(), 1);
}

async fn entries_are_removed_in_batches_of_a_thousand(fixture: &dyn Inboxes) {
    for n in 0..1_003 {
        fixture.record("g", id(n), ago(9)).await;
    }
    for expected in [1_000, 3, 0] {
        assert_eq!(fixture.inbox().await.prune("g", ago(6), &[]).await.unwrap(), expected);
    }
}

/// The pruner of group `g`, and its bus.
struct Setup {
    pruner: InboxPruner,
    bus: Arc<dyn EventBus>,
    _folder: TempDir,
}

async fn setup(fixture: &dyn Inboxes) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(&folder.path().join("bus.db"), &Points::none())
        .await
        .unwrap();
    let bus: Arc<dyn EventBus> = Arc::new(bus.with_retention(RETENTION));
    for topic in [TOPIC, OTHER] {
        bus.ensure_topic(topic.name, topic.partitions).await.unwrap();
    }
    let pruner = InboxPruner {
        inbox: fixture.inbox().await,
        bus: bus.clone(),
        group: "g",
        topics: &[TOPIC, OTHER],
        clock: Clock::system(),
    };
    Setup {
        pruner,
        bus,
        _folder: folder,
    }
}

impl Setup {
    /// Prunes with a clock that is so many hours ahead; returns how many entries were removed.
    async fn pruned_in(&self, hours: i64) -> u64 {
        let clock = Clock::from_fn(move || ago(0) + Duration::from_hours(hours.unsigned_abs()));
        let pruner = InboxPruner {
            clock,
            ..self.pruner.clone()
        };
        pruner.prune().await.unwrap()
    }
}

async fn entries_are_removed_after_twice_the_retention(fixture: &dyn Inboxes) {
    let setup = setup(fixture).await;
    fixture.record("g", id(0), ago(1)).await;
    fixture.record("h", id(0), ago(1)).await;
    assert_eq!(setup.pruned_in(46).await, 0);
    assert_eq!(setup.pruned_in(48).await, 1);
    assert!(!fixture.record("h", id(0), ago(0)).await, "that is for its own pruner");
}

async fn entries_stay_while_a_topic_has_events_of_their_age(fixture: &dyn Inboxes) {
    let setup = setup(fixture).await;
    fixture.record("g", id(0), ago(0)).await;
    // The event stays on the topic until both groups have read it. Until then `g` may read it again.
    setup
        .bus
        .publish(OTHER.name, vec![event("k", 0).to_message()])
        .await
        .unwrap();
    let later = ago(0) + Duration::from_hours(100);
    for group in OTHER.groups {
        assert_eq!(setup.bus.trim(OTHER, later).await.unwrap(), 0);
        assert_eq!(setup.pruned_in(100).await, 0);
        let mut subscription = setup.bus.subscribe(group, OTHER).await.unwrap();
        let all = read(subscription.as_mut(), 1).await;
        subscription.commit(&last(&all)).await.unwrap();
    }
    assert_eq!(setup.pruned_in(100).await, 0);
    assert_eq!(setup.bus.trim(OTHER, later).await.unwrap(), 1);
    assert_eq!(setup.pruned_in(100).await, 1);
}

async fn the_entry_of_a_parked_event_stays(fixture: &dyn Inboxes) {
    let setup = setup(fixture).await;
    setup
        .bus
        .publish(TOPIC.name, vec![event("k", 0).to_message()])
        .await
        .unwrap();
    let poisoned = || Recorder::new(|_, _| Err(HandlerError::Poisoned("not now".to_owned())));
    let consumers = TOPIC.groups.iter().map(|group| consume(group, &setup.bus, poisoned()));
    let consumers: Vec<_> = consumers.collect();
    // The event is trimmed once all groups have parked it and committed its offset.
    let later = ago(0) + Duration::from_hours(100);
    soon(async { while setup.bus.trim(TOPIC, later).await.unwrap() == 0 {} }).await;
    for tasks in consumers {
        stop(tasks).await;
    }
    // As after a redrive whose note was not written.
    fixture.record("g", id(0), ago(0)).await;
    fixture.record("g", id(1), ago(0)).await;
    assert_eq!(setup.pruned_in(100).await, 1, "only that of the other event");
    let letters = DeadLetters::new(setup.bus.clone());
    let letter = letters.list(TOPIC.name, "g").await.unwrap().remove(0);
    letters.redrive(TOPIC.name, &letter).await.unwrap();
    assert_eq!(setup.pruned_in(100).await, 0, "it is on the topic again");
    assert!(!fixture.record("g", id(0), ago(0)).await);
}
