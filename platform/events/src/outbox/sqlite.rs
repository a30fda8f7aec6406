//! The outbox in SQLite, in the database of the service that publishes.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use sqlx::{Row, SqliteConnection};
use storage::{Sqlite, StoreError};

use super::{Fence, Outbox, OutboxRow};
use crate::{Event, Message, commits};

/// The tables, a migration for every service that publishes events.
pub const SCHEMA: &str = include_str!("../../migrations/sqlite/outbox.sql");

/// Adds an event to the outbox in the caller's transaction. Wake the relay after the commit.
pub async fn append(tx: &mut SqliteConnection, topic: &str, event: &Event) -> Result<(), StoreError> {
    let message = event.to_message();
    sqlx::query("INSERT INTO outbox (id, topic, key, headers, value, created_at) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(event.id.to_string())
        .bind(topic)
        .bind(&message.key)
        .bind(serde_json::to_string(&message.headers).map_err(StoreError::corrupt)?)
        .bind(message.value.as_ref())
        .bind(event.time.as_millisecond())
        .execute(tx)
        .await?;
    Ok(())
}

/// The outbox of one database.
#[derive(Debug, Clone)]
pub struct SqliteOutbox(pub Sqlite);

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn acquire(&self, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        let (owner, ttl) = (owner.to_owned(), millis(ttl));
        let write = self.0.write(commits::OUTBOX_LEASE, move |tx| {
            async move {
                let fence: Option<i64> = sqlx::query_scalar(
                    "INSERT INTO outbox_lease (one, owner, fence, until)
                     VALUES (1, ?1, 1, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) + ?2)
                     ON CONFLICT (one) DO UPDATE
                        SET fence = fence + (owner <> excluded.owner), owner = excluded.owner, until = excluded.until
                        WHERE owner = excluded.owner OR until <= CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)
                     RETURNING fence",
                )
                .bind(owner)
                .bind(ttl)
                .fetch_optional(tx)
                .await?;
                Ok(fence.map(Fence))
            }
            .boxed()
        });
        write.await
    }

    async fn pending(&self, limit: u32, except: &[&str]) -> Result<Vec<OutboxRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, topic, CAST(key AS BLOB) AS key, CAST(headers AS BLOB) AS headers, value FROM outbox
             WHERE published_at IS NULL AND topic NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?",
        )
        .bind(serde_json::json!(except).to_string())
        .bind(limit)
        .fetch_all(self.0.reader())
        .await?;
        rows.iter()
            .map(|row| {
                let (key, headers): (Vec<u8>, Vec<u8>) = (row.try_get("key")?, row.try_get("headers")?);
                let value: Vec<u8> = row.try_get("value")?;
                Ok(OutboxRow {
                    seq: row.try_get("seq")?,
                    topic: row.try_get("topic")?,
                    message: Message::from_stored(&key, &headers, value.into()),
                })
            })
            .collect()
    }

    async fn mark_published(&self, fence: Fence, ttl: Duration, rows: &[i64]) -> Result<(), StoreError> {
        let ttl = millis(ttl);
        let rows = serde_json::to_string(rows).map_err(StoreError::corrupt)?;
        let write = self.0.write(commits::OUTBOX_MARK, move |tx| {
            async move {
                let extended = sqlx::query(
                    "UPDATE outbox_lease SET until = CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) + ?
                     WHERE fence = ?",
                )
                .bind(ttl)
                .bind(fence.0)
                .execute(&mut *tx)
                .await?;
                if extended.rows_affected() == 0 {
                    return Err(StoreError::Conflict);
                }
                sqlx::query(
                    "UPDATE outbox SET published_at = CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)
                     WHERE published_at IS NULL AND seq IN (SELECT value FROM json_each(?))",
                )
                .bind(rows)
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        });
        write.await
    }

    async fn prune(&self, retention: Duration) -> Result<u64, StoreError> {
        let retention = millis(retention);
        let write = self.0.write(commits::OUTBOX_PRUNE, move |tx| {
            async move {
                let pruned = sqlx::query(
                    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox
                     WHERE published_at <= CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) - ? LIMIT 1000)",
                )
                .bind(retention)
                .execute(tx)
                .await?;
                Ok(pruned.rows_affected())
            }
            .boxed()
        });
        write.await
    }
}
