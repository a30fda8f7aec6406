//! Rows that cannot be read, on the embedded bus and in outboxes.

use std::{path::Path, sync::Arc};

use events::{EventBus, Outbox, SqliteBus, SqliteOutbox, outbox};
use futures::FutureExt;
use runtime::Points;
use sqlx::{Connection, SqliteConnection};
use storage::{Migrations, Sqlite, SqliteOptions};

use crate::support::{Recorder, TOPIC, consume, event, parked, read, soon, stop};

async fn open(path: &Path) -> Arc<dyn EventBus> {
    Arc::new(SqliteBus::open(path, &Points::none()).await.unwrap())
}

/// Changes the file behind the bus' back.
async fn execute(path: &Path, sql: &'static str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Damages the rows of key `a`, all of which are in one partition, each in its own way.
const DAMAGE: &str = "
    UPDATE messages SET headers = 'not json' WHERE key = 'a' AND \"offset\" = 0;
    UPDATE messages SET headers = CAST(x'5bff' AS TEXT) WHERE key = 'a' AND \"offset\" = 1;
    UPDATE messages SET headers = '{\"ce_id\": 1}' WHERE key = 'a' AND \"offset\" = 2;
    UPDATE messages SET headers = '' WHERE key = 'a' AND \"offset\" = 3;";

#[tokio::test]
async fn rows_whose_headers_cannot_be_read_are_parked_as_they_are_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.db");
    let bus = open(&path).await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let sent = (0..6).map(|n| event("a", n).to_message()).collect();
    bus.publish(TOPIC.name, sent).await.unwrap();
    execute(&path, DAMAGE).await;
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    assert_eq!(recorder.applied(2).await, [("a".to_owned(), 4), ("a".to_owned(), 5)]);
    let letters = parked(&bus, "g", 4).await;
    stop(consumer).await;
    let partition = letters[0].origin.split('/').nth(1).unwrap();
    for (n, letter) in (0_u32..).zip(&letters) {
        assert_eq!(letter.origin, format!("{}/{partition}/{n}", TOPIC.name));
        assert!(
            letter.reason.starts_with("its headers cannot be read: "),
            "{}",
            letter.reason
        );
        assert_eq!(
            (&letter.id, &letter.message.value),
            (&letter.origin, &event("a", n).data)
        );
    }
    assert_eq!(letters[0].message.header("bus-raw-headers"), Some("not json"));
    assert!(bus.is_up().await);
}

#[tokio::test]
async fn a_key_that_is_no_text_and_a_row_that_is_gone_hold_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.db");
    let bus = open(&path).await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let sent = (0..4).map(|n| event("a", n).to_message()).collect();
    bus.publish(TOPIC.name, sent).await.unwrap();
    execute(
        &path,
        "DELETE FROM messages WHERE \"offset\" = 1; UPDATE messages SET key = CAST(x'61ff' AS TEXT) WHERE \"offset\" = 2;",
    )
    .await;
    let mut subscription = bus.subscribe("g", TOPIC).await.unwrap();
    let offsets: Vec<_> = read(subscription.as_mut(), 3)
        .await
        .iter()
        .map(|d| d.position.offset)
        .collect();
    assert_eq!(offsets, [0, 2, 3]);
    bus.publish(TOPIC.name, vec![event("a", 4).to_message()]).await.unwrap();
    assert_eq!(read(subscription.as_mut(), 1).await[0].position.offset, 4);
}

/// Ends when the bus says so of itself.
async fn until_up(bus: &dyn EventBus, up: bool) {
    soon(async {
        while bus.is_up().await != up {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_bus_is_not_up_while_a_group_cannot_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.db");
    let bus = open(&path).await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    recorder.applied(1).await;
    assert!(bus.is_up().await);
    execute(&path, "ALTER TABLE messages RENAME TO hidden").await;
    until_up(bus.as_ref(), false).await;
    execute(&path, "ALTER TABLE hidden RENAME TO messages").await;
    // With nothing new to read, too.
    until_up(bus.as_ref(), true).await;
    bus.publish(TOPIC.name, vec![event("a", 1).to_message()]).await.unwrap();
    recorder.applied(2).await;
    stop(consumer).await;
}

#[tokio::test]
async fn a_row_of_an_outbox_whose_headers_cannot_be_read_holds_no_others_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let options = SqliteOptions {
        path: &path,
        migrations: Migrations(&[outbox::sqlite::SCHEMA]),
        points: &Points::none(),
    };
    let db = Sqlite::open(options).await.unwrap();
    for n in 0..2 {
        db.write("test.append", move |tx| {
            async move { outbox::sqlite::append(tx, TOPIC.name, &event("a", n)).await }.boxed()
        })
        .await
        .unwrap();
    }
    execute(&path, "UPDATE outbox SET headers = 'not json' WHERE seq = 1").await;
    let rows = SqliteOutbox(db).pending(10, &[]).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].message.header("bus-raw-headers"), Some("not json"));
    assert_eq!(rows[1].message, event("a", 1).to_message());
}
