//! The bus as a durable log in SQLite, for the consumers of one process. Another process may publish (`dlq redrive`);
//! subscriptions find its messages by polling.

mod erasure;
mod retention;

use std::{collections::BTreeMap, path::Path, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use runtime::{Points, Tasks};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};
use tokio::sync::watch;

use super::{BusError, Delivery, EventBus, Position, RETENTION, StalledGroups, Subscription};
use crate::{Message, Signatures, Topic, commits, dead_letters::sign_existing, message::partition_of};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/bus.sql"),
    include_str!("../../migrations/sqlite/bus_keys.sql"),
    include_str!("../../migrations/sqlite/bus_times.sql"),
]);
/// The most messages that one fetch reads from a partition.
const FETCH: i64 = 100;
/// The interval at which messages of another process are found.
const POLL: Duration = Duration::from_millis(500);
/// After so many polls without a message `next` returns none.
const IDLE_POLLS: u32 = 4;
/// The number of messages that `sign_all` reads at once.
const SIGN_BATCH: i64 = 1_000;

/// The start of a query of messages. Reads key and headers as bytes, so that damaged text does not fail the query.
macro_rules! messages {
    () => {
        "SELECT topic, partition, \"offset\", CAST(key AS BLOB) AS key, CAST(headers AS BLOB) AS headers, value FROM messages"
    };
}

/// A handle on the log. Clones share the log.
#[derive(Debug, Clone)]
pub struct SqliteBus {
    db: Sqlite,
    published: watch::Sender<()>,
    stalled: StalledGroups,
    signatures: Signatures,
    retention: Duration,
}

impl SqliteBus {
    pub async fn open(path: &Path, points: &Points) -> Result<Self, OpenError> {
        let db = Sqlite::open(SqliteOptions {
            path,
            migrations: MIGRATIONS,
            points,
        })
        .await?;
        Ok(Self {
            db,
            published: watch::Sender::new(()),
            stalled: StalledGroups::default(),
            signatures: Signatures::default(),
            retention: RETENTION,
        })
    }

    #[must_use]
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    #[must_use]
    pub fn with_signatures(self, signatures: Signatures) -> Self {
        Self { signatures, ..self }
    }

    /// The transactions of the log. Services share the log: stop these tasks after all services have stopped.
    pub fn transactions(&self) -> Tasks {
        self.db.transactions()
    }

    /// Signs all messages of the log, in one commit. Call this when the key is created: versions without a key wrote
    /// these messages, and consumers must accept them.
    pub async fn sign_all(&self) -> Result<(), BusError> {
        let signatures = self.signatures.clone();
        let write = self.db.write(commits::BUS_SIGN, move |tx| {
            async move {
                let mut last = None;
                loop {
                    last = sign_some(tx, &signatures, last).await?;
                    if last.is_none() {
                        return Ok(());
                    }
                }
            }
            .boxed()
        });
        Ok(write.await?)
    }
}

/// The topic, partition and offset of a message.
type LogPosition = (String, u32, i64);

/// Signs the messages after a position; returns the last position if there may be more.
async fn sign_some(
    tx: &mut SqliteConnection,
    signatures: &Signatures,
    after: Option<LogPosition>,
) -> Result<Option<LogPosition>, StoreError> {
    let (topic, partition, offset) = after.unwrap_or_default();
    // Offsets begin at 0, so -1 is before the first message.
    let offset = if topic.is_empty() { -1 } else { offset };
    let rows = sqlx::query(concat!(
        messages!(),
        " WHERE (topic, partition, \"offset\") > (?, ?, ?) ORDER BY topic, partition, \"offset\" LIMIT ?"
    ))
    .bind(topic)
    .bind(partition)
    .bind(offset)
    .bind(SIGN_BATCH)
    .fetch_all(&mut *tx)
    .await?;
    let mut last = None;
    for row in &rows {
        let position: LogPosition = (row.try_get("topic")?, row.try_get("partition")?, row.try_get("offset")?);
        let message = message(row)?;
        if message.unreadable().is_none() {
            let signed = sign_existing(signatures, &position.0, message);
            sqlx::query("UPDATE messages SET headers = ? WHERE topic = ? AND partition = ? AND \"offset\" = ?")
                .bind(serde_json::to_string(&signed.headers).map_err(StoreError::corrupt)?)
                .bind(&position.0)
                .bind(position.1)
                .bind(position.2)
                .execute(&mut *tx)
                .await?;
        }
        last = Some(position);
    }
    Ok(last)
}

impl From<StoreError> for BusError {
    fn from(error: StoreError) -> Self {
        Self::new(error)
    }
}

impl From<sqlx::Error> for BusError {
    fn from(error: sqlx::Error) -> Self {
        Self::new(error)
    }
}

#[async_trait]
impl EventBus for SqliteBus {
    async fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<(), BusError> {
        let topic = topic.to_owned();
        let write = self.db.write(commits::BUS_TOPIC, move |tx| {
            async move {
                if partitions_of(tx, &topic).await? > 0 {
                    return Ok(());
                }
                for partition in 0..partitions {
                    sqlx::query("INSERT INTO partitions (topic, partition) VALUES (?, ?)")
                        .bind(&topic)
                        .bind(partition)
                        .execute(&mut *tx)
                        .await?;
                }
                Ok(())
            }
            .boxed()
        });
        Ok(write.await?)
    }

    async fn publish(&self, topic: &str, messages: Vec<Message>) -> Result<(), BusError> {
        let topic = topic.to_owned();
        self.db
            .write(commits::BUS_PUBLISH, move |tx| append(tx, topic, messages).boxed())
            .await?;
        self.published.send_replace(());
        Ok(())
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Subscription>, BusError> {
        let rows = sqlx::query(
            "SELECT p.partition, coalesce(g.next_offset, 0) AS next FROM partitions p
             LEFT JOIN group_offsets g
                ON g.consumer_group = ? AND g.topic = p.topic AND g.partition = p.partition
             WHERE p.topic = ?",
        )
        .bind(group)
        .bind(topic.name)
        .fetch_all(self.db.reader())
        .await?;
        let next = rows
            .iter()
            .map(|row| Ok((row.try_get("partition")?, row.try_get("next")?)));
        Ok(Box::new(SqliteSubscription {
            db: self.db.clone(),
            published: self.published.subscribe(),
            group: group.to_owned(),
            topic: topic.name.to_owned(),
            next: next.collect::<Result<_, sqlx::Error>>()?,
        }))
    }

    async fn read_all(&self, topic: &str) -> Result<Vec<Delivery>, BusError> {
        let rows = sqlx::query(concat!(
            messages!(),
            " WHERE topic = ? AND \"offset\" >= 0 ORDER BY partition, \"offset\""
        ))
        .bind(topic)
        .fetch_all(self.db.reader())
        .await?;
        rows.iter().map(delivery).collect()
    }

    fn stalled(&self) -> &StalledGroups {
        &self.stalled
    }

    fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    async fn is_up(&self) -> bool {
        self.stalled.is_empty() && self.db.is_up().await
    }
}

async fn partitions_of(tx: &mut SqliteConnection, topic: &str) -> Result<u32, StoreError> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM partitions WHERE topic = ?")
        .bind(topic)
        .fetch_one(tx)
        .await?)
}

async fn append(tx: &mut SqliteConnection, topic: String, messages: Vec<Message>) -> Result<(), StoreError> {
    let partitions = partitions_of(tx, &topic).await?;
    if partitions == 0 {
        return Err(StoreError::unavailable(format!("there is no topic {topic}")));
    }
    for message in messages {
        let partition = partition_of(&message.key, partitions);
        let offset: i64 = sqlx::query_scalar(
            "UPDATE partitions SET next_offset = next_offset + 1 WHERE topic = ? AND partition = ?
             RETURNING next_offset - 1",
        )
        .bind(&topic)
        .bind(partition)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO messages (topic, partition, \"offset\", key, headers, value, published_at)
             VALUES (?, ?, ?, ?, ?, ?, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER))",
        )
        .bind(&topic)
        .bind(partition)
        .bind(offset)
        .bind(&message.key)
        .bind(serde_json::to_string(&message.headers).map_err(StoreError::corrupt)?)
        .bind(message.value.as_ref())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

fn message(row: &SqliteRow) -> Result<Message, sqlx::Error> {
    let (key, headers): (Vec<u8>, Vec<u8>) = (row.try_get("key")?, row.try_get("headers")?);
    let value: Vec<u8> = row.try_get("value")?;
    Ok(Message::from_stored(&key, &headers, value.into()))
}

fn delivery(row: &SqliteRow) -> Result<Delivery, BusError> {
    let offset: i64 = row.try_get("offset")?;
    Ok(Delivery {
        position: Position {
            partition: row.try_get("partition")?,
            offset: u64::try_from(offset).map_err(BusError::new)?,
        },
        message: message(row)?,
    })
}

/// The only member of its group, because only one process consumes from the log.
struct SqliteSubscription {
    db: Sqlite,
    published: watch::Receiver<()>,
    group: String,
    topic: String,
    /// The next offset of each partition.
    next: BTreeMap<u32, i64>,
}

impl SqliteSubscription {
    async fn fetch(&mut self) -> Result<Vec<Delivery>, BusError> {
        let mut found = Vec::new();
        for (partition, next) in &mut self.next {
            let rows = sqlx::query(concat!(
                messages!(),
                " WHERE topic = ? AND partition = ? AND \"offset\" >= ? ORDER BY \"offset\" LIMIT ?"
            ))
            .bind(&self.topic)
            .bind(*partition)
            .bind((*next).max(0))
            .bind(FETCH)
            .fetch_all(self.db.reader())
            .await?;
            let deliveries = rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()?;
            // Offsets advance only after the last await, so that cancelling this loses no delivery.
            found.push((next, deliveries));
        }
        let mut all = Vec::new();
        for (next, deliveries) in found {
            if let Some(last) = deliveries.last() {
                *next = i64::try_from(last.position.offset)
                    .map_err(BusError::new)?
                    .saturating_add(1);
            }
            all.extend(deliveries);
        }
        Ok(all)
    }
}

#[async_trait]
impl Subscription for SqliteSubscription {
    async fn next(&mut self) -> Result<Vec<Delivery>, BusError> {
        for _ in 0..IDLE_POLLS {
            // Marked as seen before the fetch, so that a later publication ends the wait below.
            self.published.borrow_and_update();
            let found = self.fetch().await?;
            if !found.is_empty() {
                return Ok(found);
            }
            // A timeout and a dropped sender both lead to another fetch.
            let _ = tokio::time::timeout(POLL, self.published.changed()).await;
        }
        self.fetch().await
    }

    async fn commit(&mut self, done: &[Position]) -> Result<(), BusError> {
        let (group, topic, done) = (self.group.clone(), self.topic.clone(), done.to_vec());
        let write = self.db.write(commits::BUS_OFFSETS, move |tx| {
            async move {
                for position in done {
                    let next = i64::try_from(position.offset).map_err(StoreError::corrupt)? + 1;
                    sqlx::query(
                        "INSERT INTO group_offsets (consumer_group, topic, partition, next_offset) VALUES (?, ?, ?, ?)
                         ON CONFLICT (consumer_group, topic, partition)
                         DO UPDATE SET next_offset = max(next_offset, excluded.next_offset)",
                    )
                    .bind(&group)
                    .bind(&topic)
                    .bind(position.partition)
                    .bind(next)
                    .execute(&mut *tx)
                    .await?;
                }
                Ok(())
            }
            .boxed()
        });
        Ok(write.await?)
    }
}
