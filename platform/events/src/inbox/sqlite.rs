//! The inbox in SQLite.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use storage::StoreError;
use uuid::Uuid;

/// The table, to be put into the schema of a service that consumes events.
pub const SCHEMA: &str = include_str!("../../migrations/sqlite/inbox.sql");

/// Notes that the group applies this event, in the transaction of the effect. False when it had done so before: then there
/// must be no effect.
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
