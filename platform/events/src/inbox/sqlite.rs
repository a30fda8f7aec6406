//! The inbox in SQLite.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;
use storage::{Sqlite, StoreError};
use uuid::Uuid;

use super::Inbox;
use crate::commits;

/// The table, a migration for every service that consumes events.
pub const SCHEMA: &str = include_str!("../../migrations/sqlite/inbox.sql");
/// The index of the table, a later migration.
pub const BY_AGE: &str = include_str!("../../migrations/sqlite/inbox_age.sql");

const PRUNE: &str = "DELETE FROM inbox WHERE (consumer_group, event_id) IN (
    SELECT consumer_group, event_id FROM inbox WHERE consumer_group = ?1 AND applied_at < ?2
        AND event_id NOT IN (SELECT value FROM json_each(?3)) LIMIT 1000)";

/// Records, in the transaction of the effect, that the group applies this event. Returns `false` if the group has
/// applied it before: then the caller must not repeat the effect.
pub async fn first_time(
    tx: &mut SqliteConnection,
    group: &str,
    event: Uuid,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let inserted =
        sqlx::query("INSERT INTO inbox (consumer_group, event_id, applied_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(group)
            .bind(event.to_string())
            .bind(now.as_millisecond())
            .execute(tx)
            .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The inbox of one database.
#[derive(Debug, Clone)]
pub struct SqliteInbox(pub Sqlite);

#[async_trait]
impl Inbox for SqliteInbox {
    async fn prune(&self, group: &str, before: Timestamp, except: &[Uuid]) -> Result<u64, StoreError> {
        let (group, except) = (group.to_owned(), json!(except).to_string());
        let write = self.0.write(commits::INBOX_PRUNE, move |tx| {
            async move {
                let prune = sqlx::query(PRUNE)
                    .bind(group)
                    .bind(before.as_millisecond())
                    .bind(except);
                Ok(prune.execute(tx).await?.rows_affected())
            }
            .boxed()
        });
        write.await
    }
}
