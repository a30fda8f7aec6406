//! Unreadable rows in the bus on SQLite and in outboxes.

use events::{EventBus, Outbox, SqliteOutbox, outbox};
use futures::FutureExt;
use runtime::Points;
use storage::{Migrations, Sqlite, SqliteOptions};
use testing::{Fixture, SqliteFixture};

use crate::{
    buses::Buses,
    support::{Recorder, TOPIC, consume, event, parked, read, soon, stop},
};

const BUS: &str = "bus.db";

/// Damages four rows of key `a`, each in another way. All rows of a key are in one partition.
const DAMAGE: &str = "
    UPDATE messages SET headers = 'not json' WHERE key = 'a' AND \"offset\" = 0;
    UPDATE messages SET headers = CAST(x'5bff' AS TEXT) WHERE key = 'a' AND \"offset\" = 1;
    UPDATE messages SET headers = '{\"ce_id\": 1}' WHERE key = 'a' AND \"offset\" = 2;
    UPDATE messages SET headers = '' WHERE key = 'a' AND \"offset\" = 3;";

#[tokio::test]
async fn rows_with_unreadable_headers_are_parked_and_later_rows_are_applied() {
    let fixture = SqliteFixture::new().unwrap();
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let sent = (0..6).map(|n| event("a", n).to_message()).collect();
    bus.publish(TOPIC.name, sent).await.unwrap();
    fixture.execute(BUS, DAMAGE).await;
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
async fn an_invalid_key_and_a_missing_row_block_nothing() {
    let fixture = SqliteFixture::new().unwrap();
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let sent = (0..4).map(|n| event("a", n).to_message()).collect();
    bus.publish(TOPIC.name, sent).await.unwrap();
    let damage = "DELETE FROM messages WHERE \"offset\" = 1; UPDATE messages SET key = CAST(x'61ff' AS TEXT) WHERE \"offset\" = 2;";
    fixture.execute(BUS, damage).await;
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

/// Waits until the bus reports that it is up, or down.
async fn until_up(bus: &dyn EventBus, up: bool) {
    soon(async {
        while bus.is_up().await != up {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_bus_is_down_while_a_group_cannot_read() {
    let fixture = SqliteFixture::new().unwrap();
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    recorder.applied(1).await;
    assert!(bus.is_up().await);
    fixture.execute(BUS, "ALTER TABLE messages RENAME TO hidden").await;
    until_up(bus.as_ref(), false).await;
    fixture.execute(BUS, "ALTER TABLE hidden RENAME TO messages").await;
    // The bus recovers even without a new message.
    until_up(bus.as_ref(), true).await;
    bus.publish(TOPIC.name, vec![event("a", 1).to_message()]).await.unwrap();
    recorder.applied(2).await;
    stop(consumer).await;
}

#[tokio::test]
async fn an_outbox_row_with_unreadable_headers_blocks_no_other_rows() {
    let fixture = SqliteFixture::new().unwrap();
    let options = SqliteOptions {
        path: &fixture.file("outbox.db"),
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
    let damage = "UPDATE outbox SET headers = 'not json' WHERE seq = 1";
    fixture.execute("outbox.db", damage).await;
    let rows = SqliteOutbox(db).pending(10, &[]).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].message.header("bus-raw-headers"), Some("not json"));
    assert_eq!(rows[1].message, event("a", 1).to_message());
}
