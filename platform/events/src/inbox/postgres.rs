//! The inbox in PostgreSQL.

use jiff::Timestamp;
use sqlx::PgConnection;
use storage::{StoreError, timestamptz};
use uuid::Uuid;

/// The table, to be put into the schema of a service that consumes events.
pub const SCHEMA: &str = include_str!("../../migrations/postgres/inbox.sql");

/// Notes that the group applies this event, in the transaction of the effect. False when it had done so before: then there
/// must be no effect. Waits for another transaction that is applying the same event.
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
