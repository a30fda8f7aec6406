//! Old notes of inboxes, over all of their adapters, and the one who removes them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use events::{
    DeadLetters, EventBus, HandlerError, Inbox, InboxKeeper, PostgresInbox, SqliteBus, SqliteInbox, Topic,
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
/// A second topic of the same groups.
const OTHER: Topic = Topic {
    name: "other-happenings",
    ..TOPIC
};

/// An inbox at one place.
#[async_trait]
trait Inboxes: Send + Sync {
    async fn inbox(&self) -> Arc<dyn Inbox>;
    /// Notes that a group has applied an event; whether that is so for the first time.
    async fn note(&self, group: &'static str, event: Uuid, at: Timestamp) -> bool;
}

/// A place with a database that is opened once.
struct Opened<P, D> {
    place: P,
    db: OnceCell<D>,
}

impl<P: Fixture, D: Send> Fixture for Opened<P, D> {
    fn new() -> Option<Self> {
        Some(Self {
            place: P::new()?,
            db: OnceCell::new(),
        })
    }

    async fn close(self) {
        drop(self.db);
        self.place.close().await;
    }
}

type InFile = Opened<SqliteFixture, Sqlite>;
type InSchema = Opened<PostgresFixture, Postgres>;

impl InFile {
    async fn db(&self) -> &Sqlite {
        let open = async || {
            let options = SqliteOptions {
                path: &self.place.file("inbox.db"),
                migrations: Migrations(&[sqlite::SCHEMA, sqlite::BY_AGE]),
                points: &Points::none(),
            };
            Sqlite::open(options).await.unwrap()
        };
        self.db.get_or_init(open).await
    }
}

#[async_trait]
impl Inboxes for InFile {
    async fn inbox(&self) -> Arc<dyn Inbox> {
        Arc::new(SqliteInbox(self.db().await.clone()))
    }

    async fn note(&self, group: &'static str, event: Uuid, at: Timestamp) -> bool {
        let db = self.db().await;
        let write = db.write("test.note", move |tx| sqlite::first_time(tx, group, event, at).boxed());
        write.await.unwrap()
    }
}

impl InSchema {
    async fn db(&self) -> &Postgres {
        let open = async || {
            let options = PostgresOptions {
                address: &self.place.address(),
                schema: &self.place.schema,
                migrations: Migrations(&[postgres::SCHEMA, postgres::BY_AGE]),
                points: &Points::none(),
            };
            Postgres::open(options).await.unwrap()
        };
        self.db.get_or_init(open).await
    }
}

#[async_trait]
impl Inboxes for InSchema {
    async fn inbox(&self) -> Arc<dyn Inbox> {
        Arc::new(PostgresInbox(self.db().await.clone()))
    }

    async fn note(&self, group: &'static str, event: Uuid, at: Timestamp) -> bool {
        let db = self.db().await;
        let write = db.write("test.note", move |tx| {
            postgres::first_time(tx, group, event, at).boxed()
        });
        write.await.unwrap()
    }
}

testing::contract! { inbox_contract:
    old_notes_of_a_group_go_but_for_those_that_are_to_stay,
    notes_go_a_thousand_at_once,
    notes_go_after_twice_the_retention,
    no_note_goes_while_an_event_of_its_time_can_be_read_again,
    the_note_of_a_parked_event_stays,
}

inbox_contract!(on_sqlite: InFile, on_postgres: InSchema);

fn id(n: u32) -> Uuid {
    event("k", n).id
}

/// So many hours ago.
fn ago(hours: i64) -> Timestamp {
    Clock::system().now() - Duration::from_hours(hours.unsigned_abs())
}

async fn old_notes_of_a_group_go_but_for_those_that_are_to_stay(fixture: &dyn Inboxes) {
    for (n, hours) in [(0, 9), (1, 8), (2, 7), (3, 5)] {
        assert!(fixture.note("g", id(n), ago(hours)).await);
    }
    assert!(fixture.note("h", id(0), ago(9)).await);
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
        assert_eq!(fixture.note(group, id(n), ago(0)).await, is_gone, "{group} {n}");
    }
    assert_eq!(inbox.prune("g", ago(6), &[]).await.unwrap(), 1);
}

async fn notes_go_a_thousand_at_once(fixture: &dyn Inboxes) {
    for n in 0..1_003 {
        fixture.note("g", id(n), ago(9)).await;
    }
    for expected in [1_000, 3, 0] {
        assert_eq!(fixture.inbox().await.prune("g", ago(6), &[]).await.unwrap(), expected);
    }
}

/// A keeper of the inbox of group `g`, and the bus that it reads from.
struct Setup {
    keeper: InboxKeeper,
    bus: Arc<dyn EventBus>,
    _folder: TempDir,
}

async fn setup(fixture: &dyn Inboxes) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(&folder.path().join("bus.db"), &Points::none())
        .await
        .unwrap();
    let bus: Arc<dyn EventBus> = Arc::new(bus.kept_for(RETENTION));
    for topic in [TOPIC, OTHER] {
        bus.ensure_topic(topic.name, topic.partitions).await.unwrap();
    }
    let keeper = InboxKeeper {
        inbox: fixture.inbox().await,
        bus: bus.clone(),
        group: "g",
        topics: &[TOPIC, OTHER],
        clock: Clock::system(),
    };
    Setup {
        keeper,
        bus,
        _folder: folder,
    }
}

impl Setup {
    /// Tidies so many hours from now; returns how many notes went.
    async fn tidied_in(&self, hours: i64) -> u64 {
        let clock = Clock::from_fn(move || ago(0) + Duration::from_hours(hours.unsigned_abs()));
        let keeper = InboxKeeper {
            clock,
            ..self.keeper.clone()
        };
        keeper.tidy().await.unwrap()
    }
}

async fn notes_go_after_twice_the_retention(fixture: &dyn Inboxes) {
    let setup = setup(fixture).await;
    fixture.note("g", id(0), ago(1)).await;
    fixture.note("h", id(0), ago(1)).await;
    assert_eq!(setup.tidied_in(46).await, 0);
    assert_eq!(setup.tidied_in(48).await, 1);
    assert!(!fixture.note("h", id(0), ago(0)).await, "that is for its own keeper");
}

async fn no_note_goes_while_an_event_of_its_time_can_be_read_again(fixture: &dyn Inboxes) {
    let setup = setup(fixture).await;
    fixture.note("g", id(0), ago(0)).await;
    // The other group has not read it, so that it stays, and this one would read it again if its offsets were lost.
    setup
        .bus
        .publish(OTHER.name, vec![event("k", 0).to_message()])
        .await
        .unwrap();
    let later = ago(0) + Duration::from_hours(100);
    for group in OTHER.groups {
        assert_eq!(setup.bus.trim(OTHER, later).await.unwrap(), 0);
        assert_eq!(setup.tidied_in(100).await, 0);
        let mut subscription = setup.bus.subscribe(group, OTHER).await.unwrap();
        let all = read(subscription.as_mut(), 1).await;
        subscription.commit(&last(&all)).await.unwrap();
    }
    assert_eq!(setup.tidied_in(100).await, 0);
    assert_eq!(setup.bus.trim(OTHER, later).await.unwrap(), 1);
    assert_eq!(setup.tidied_in(100).await, 1);
}

async fn the_note_of_a_parked_event_stays(fixture: &dyn Inboxes) {
    let setup = setup(fixture).await;
    setup
        .bus
        .publish(TOPIC.name, vec![event("k", 0).to_message()])
        .await
        .unwrap();
    let poisoned = || Recorder::new(|_, _| Err(HandlerError::Poisoned("not now".to_owned())));
    let consumers = TOPIC.groups.iter().map(|group| consume(group, &setup.bus, poisoned()));
    let consumers: Vec<_> = consumers.collect();
    // It goes once all have parked it, and have committed that.
    let later = ago(0) + Duration::from_hours(100);
    soon(async { while setup.bus.trim(TOPIC, later).await.unwrap() == 0 {} }).await;
    for tasks in consumers {
        stop(tasks).await;
    }
    // It was sent through again, and nobody has written that down.
    fixture.note("g", id(0), ago(0)).await;
    fixture.note("g", id(1), ago(0)).await;
    assert_eq!(setup.tidied_in(100).await, 1, "only that of the other event");
    let letters = DeadLetters::new(setup.bus.clone());
    let letter = letters.list(TOPIC.name, "g").await.unwrap().remove(0);
    letters.redrive(TOPIC.name, &letter).await.unwrap();
    assert_eq!(setup.tidied_in(100).await, 0, "it is on the topic again");
    assert!(!fixture.note("g", id(0), ago(0)).await);
}
