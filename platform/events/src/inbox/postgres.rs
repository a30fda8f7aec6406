//! The inbox in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use sqlx::PgConnection;
use storage::{Postgres, StoreError, timestamptz};
use uuid::Uuid;

use super::Inbox;
use crate::commits;

/// The table, a migration for every service that consumes events.
pub const SCHEMA: &str = include_str!("../../migrations/postgres/inbox.sql");
/// The index of the table, a later migration.
pub const BY_AGE: &str = include_str!("../../migrations/postgres/inbox_age.sql");

const PRUNE: &str = "DELETE FROM inbox WHERE (consumer_group, event_id) IN (
    SELECT consumer_group, event_id FROM inbox WHERE consumer_group = $1 AND applied_at < $2
        AND event_id <> ALL($3) LIMIT 1000)";

/// Records, in the transaction of the effect, that the group applies this event. `false`: the group has applied it
/// before, and the caller must not repeat the effect. Waits for a concurrent transaction that applies the same event.
pub async fn first_time(tx: &mut PgConnection, group: &str, event: Uuid, now: Timestamp) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO inbox (consumer_group, event_id, applied_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(group)
    .bind(event)
    .bind(timestamptz(now))
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The inbox of one schema.
#[derive(Debug, Clone)]
pub struct PostgresInbox(pub Postgres);

#[async_trait]
impl Inbox for PostgresInbox {
    async fn prune(&self, group: &str, before: Timestamp, except: &[Uuid]) -> Result<u64, StoreError> {
        let (group, except) = (group.to_owned(), except.to_vec());
        let write = self.0.write(commits::INBOX_PRUNE, move |tx| {
            async move {
                let prune = sqlx::query(PRUNE).bind(group).bind(timestamptz(before)).bind(except);
                Ok(prune.execute(tx).await?.rows_affected())
            }
            .boxed()
        });
        write.await
    }
}
