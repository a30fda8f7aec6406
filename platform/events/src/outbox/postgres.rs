//! The outbox in PostgreSQL, in the schema of the service that publishes.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use sqlx::{
    PgConnection, Row,
    postgres::{PgRow, types::PgInterval},
    types::Json,
};
use storage::{Postgres, StoreError, timestamptz};

use super::{Fence, Outbox, OutboxRow};
use crate::{Event, Message, commits};

/// The tables, a migration for every service that publishes events.
pub const SCHEMA: &str = include_str!("../../migrations/postgres/outbox.sql");

/// Adds an event to the outbox in the caller's transaction. Wake the relay after the commit.
pub async fn append(tx: &mut PgConnection, topic: &str, event: &Event) -> Result<(), StoreError> {
    let message = event.to_message();
    sqlx::query("INSERT INTO outbox (id, topic, key, headers, value, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(event.id)
        .bind(topic)
        .bind(&message.key)
        .bind(Json(&message.headers))
        .bind(message.value.as_ref())
        .bind(timestamptz(event.time))
        .execute(tx)
        .await?;
    Ok(())
}

/// The outbox of one schema.
#[derive(Debug, Clone)]
pub struct PostgresOutbox(pub Postgres);

/// Longer durations than a century are cut to one.
fn interval(duration: Duration) -> PgInterval {
    const CENTURY: i64 = 100 * 365 * 24 * 3600 * 1_000_000;
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).map_or(CENTURY, |micros| micros.min(CENTURY)),
    }
}

#[async_trait]
impl Outbox for PostgresOutbox {
    async fn acquire(&self, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        let (owner, ttl) = (owner.to_owned(), interval(ttl));
        let write = self.0.write(commits::OUTBOX_LEASE, move |tx| {
            async move {
                let fence: Option<i64> = sqlx::query_scalar(
                    "INSERT INTO outbox_lease AS held (one, owner, fence, until)
                     VALUES (1, $1, 1, clock_timestamp() + $2)
                     ON CONFLICT (one) DO UPDATE
                        SET fence = held.fence + CASE WHEN held.owner = excluded.owner THEN 0 ELSE 1 END,
                            owner = excluded.owner, until = excluded.until
                        WHERE held.owner = excluded.owner OR held.until <= clock_timestamp()
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
        // Selects by `published_at`, never by `seq` after the last row seen: transactions may commit in another order
        // than that in which they took their numbers.
        let rows = sqlx::query(
            "SELECT seq, topic, key, headers::text AS headers, value FROM outbox
             WHERE published_at IS NULL AND topic <> ALL($2) ORDER BY seq LIMIT $1",
        )
        .bind(i64::from(limit))
        .bind(except)
        .fetch_all(self.0.reader())
        .await?;
        rows.iter().map(row).collect()
    }

    async fn mark_published(&self, fence: Fence, ttl: Duration, rows: &[i64]) -> Result<(), StoreError> {
        let (ttl, rows) = (interval(ttl), rows.to_vec());
        let write = self.0.write(commits::OUTBOX_MARK, move |tx| {
            async move {
                let is_holder: bool = sqlx::query_scalar(
                    "WITH holder AS (UPDATE outbox_lease SET until = clock_timestamp() + $3 WHERE fence = $1 RETURNING 1),
                        marked AS (UPDATE outbox SET published_at = clock_timestamp()
                            WHERE published_at IS NULL AND seq = ANY($2) AND EXISTS (SELECT 1 FROM holder))
                     SELECT EXISTS (SELECT 1 FROM holder)",
                )
                .bind(fence.0)
                .bind(rows)
                .bind(ttl)
                .fetch_one(tx)
                .await?;
                if is_holder { Ok(()) } else { Err(StoreError::Conflict) }
            }
            .boxed()
        });
        write.await
    }

    async fn prune(&self, retention: Duration) -> Result<u64, StoreError> {
        let retention = interval(retention);
        let write = self.0.write(commits::OUTBOX_PRUNE, move |tx| {
            async move {
                let pruned = sqlx::query(
                    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox
                     WHERE published_at <= (SELECT clock_timestamp()) - $1 LIMIT 1000)",
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

fn row(row: &PgRow) -> Result<OutboxRow, StoreError> {
    let (key, headers): (String, String) = (row.try_get("key")?, row.try_get("headers")?);
    let value: Vec<u8> = row.try_get("value")?;
    Ok(OutboxRow {
        seq: row.try_get("seq")?,
        topic: row.try_get("topic")?,
        message: Message::from_stored(key.as_bytes(), headers.as_bytes(), value.into()),
    })
}
