//! Removes old events that all groups have read.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;
use storage::StoreError;

use super::SqliteBus;
use crate::{BusError, Retain, Topic, commits};

/// The offset up to which all (`?3`) of these groups (`?2`) have read each partition of a topic (`?1`). Without
/// partitions of which a group has read nothing.
const READ: &str = "SELECT partition, min(next_offset) FROM group_offsets
    WHERE topic = ?1 AND consumer_group IN (SELECT value FROM json_each(?2))
    GROUP BY partition HAVING count(*) = ?3";
/// Removes messages before an offset (`?3`) and a time (`?4`). One commit looks at 1,000 messages, to stay short.
const TRIM: &str = "DELETE FROM messages WHERE topic = ?1 AND partition = ?2 AND \"offset\" IN (
    SELECT \"offset\" FROM (
        SELECT \"offset\", published_at FROM messages
        WHERE topic = ?1 AND partition = ?2 AND \"offset\" < ?3 ORDER BY \"offset\" LIMIT 1000)
    WHERE published_at < ?4)";
/// Whether the first message of any partition of a topic (`?1`) is older than a time (`?2`).
const HAS_BEFORE: &str = "SELECT EXISTS (SELECT 1 FROM partitions p JOIN messages m
    ON m.topic = p.topic AND m.partition = p.partition AND m.\"offset\" = (
        SELECT min(f.\"offset\") FROM messages f WHERE f.topic = p.topic AND f.partition = p.partition)
    WHERE p.topic = ?1 AND m.published_at < ?2)";

#[async_trait]
impl Retain for SqliteBus {
    fn retention(&self) -> Duration {
        self.retention
    }

    async fn trim(&self, topic: Topic, before: Timestamp) -> Result<u64, BusError> {
        let write = self
            .db
            .write(commits::BUS_TRIM, move |tx| trim(tx, topic, before).boxed());
        Ok(write.await?)
    }

    async fn has_before(&self, topic: Topic, before: Timestamp) -> Result<bool, BusError> {
        let has = sqlx::query_scalar(HAS_BEFORE)
            .bind(topic.name)
            .bind(before.as_millisecond());
        Ok(has.fetch_one(self.db.reader()).await?)
    }
}

async fn trim(tx: &mut SqliteConnection, topic: Topic, before: Timestamp) -> Result<u64, StoreError> {
    let of_groups = i64::try_from(topic.groups.len()).map_err(StoreError::corrupt)?;
    let read: Vec<(u32, i64)> = sqlx::query_as(READ)
        .bind(topic.name)
        .bind(json!(topic.groups).to_string())
        .bind(of_groups)
        .fetch_all(&mut *tx)
        .await?;
    let mut removed = 0;
    for (partition, read) in read {
        let trim = sqlx::query(TRIM).bind(topic.name).bind(partition).bind(read);
        removed += trim
            .bind(before.as_millisecond())
            .execute(&mut *tx)
            .await?
            .rows_affected();
    }
    Ok(removed)
}
