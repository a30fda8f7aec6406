//! The migrations and the customer records in SQLite.

use async_trait::async_trait;
use events::outbox;
use futures::FutureExt;
use serde_json::json;
use sqlx::{Row, SqliteConnection};
use storage::{Migrations, Sqlite, StoreError};
use uuid::fmt::Hyphenated;

use super::UNREAD_FOR;
use crate::{
    commits,
    domain::{CheckoutId, UserId},
    ports::{CheckoutWithoutHold, CustomerRecords, UserCheckouts},
};

pub const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    outbox::sqlite::SCHEMA,
    include_str!("../../migrations/sqlite/0002_holds.sql"),
    include_str!("../../migrations/sqlite/0003_erasure.sql"),
    include_str!("../../migrations/sqlite/0004_engine.sql"),
    ::saga::journal::sqlite::SCHEMA,
]);

/// Parameters: user, cart version, age in milliseconds. Its first conditions are those of the index `checkouts_unheld`.
const WITHOUT_HOLD: &str = "SELECT id, state = 'COMPLETED' AS is_final FROM checkouts
     WHERE user_id = ?1 AND cart_id IS NULL AND held = 0
        AND state IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING', 'PAYMENT_COMPLETED', 'COMPLETED')
        AND (state <> 'COMPLETED'
            OR (cart_version >= ?2 AND updated_at > CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) - ?3)
            OR EXISTS (SELECT 1 FROM outbox WHERE key = checkouts.id AND published_at IS NULL))
     ORDER BY is_final LIMIT 1";

/// Unfinished checkouts come first.
const USER_CHECKOUTS: &str = "SELECT id, state IN ('COMPLETED', 'FAILED') AS is_final FROM checkouts WHERE user_id = ?
    ORDER BY is_final, id LIMIT ?";
const UNPUBLISHED: &str = "SELECT key FROM outbox
    WHERE published_at IS NULL AND key IN (SELECT value FROM json_each(?)) LIMIT 1";
/// The unary plus keeps SQLite from the index on users: a user may have many more checkouts than are named here.
const FORGET: &str = "UPDATE checkouts
    SET user_id = ?1 || id, idempotency_key = 'erased', fingerprint = 'erased', payment_method = 'erased', cart_id = NULL
    WHERE id IN (SELECT value FROM json_each(?2)) AND +user_id = ?3 AND state IN ('COMPLETED', 'FAILED')";
const FORGET_EVENTS: &str = "DELETE FROM outbox
    WHERE published_at IS NOT NULL AND key IN (SELECT value FROM json_each(?))";

#[derive(Debug, Clone)]
pub struct SqliteRecords(pub Sqlite);

#[async_trait]
impl CustomerRecords for SqliteRecords {
    async fn without_hold(&self, user: &UserId, cart_version: i64) -> Result<Option<CheckoutWithoutHold>, StoreError> {
        let row = sqlx::query(WITHOUT_HOLD)
            .bind(user.as_str())
            .bind(cart_version)
            .bind(i64::try_from(UNREAD_FOR.as_millis()).map_err(StoreError::corrupt)?)
            .fetch_optional(self.0.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let id: Hyphenated = row.try_get("id")?;
        Ok(Some(CheckoutWithoutHold {
            id: CheckoutId(id.into_uuid()),
            is_final: row.try_get("is_final")?,
        }))
    }

    async fn user_checkouts(&self, user: &UserId, limit: usize) -> Result<UserCheckouts, StoreError> {
        let rows = sqlx::query(USER_CHECKOUTS)
            .bind(user.as_str())
            .bind(i64::try_from(limit).map_err(StoreError::corrupt)?)
            .fetch_all(self.0.reader())
            .await?;
        let mut ended = Vec::with_capacity(rows.len());
        for row in rows {
            let id: Hyphenated = row.try_get("id")?;
            let id = CheckoutId(id.into_uuid());
            if !row.try_get("is_final")? {
                return Ok(UserCheckouts::Unfinished(id));
            }
            ended.push(id);
        }
        Ok(UserCheckouts::AllFinal(ended))
    }

    async fn unpublished(&self, checkouts: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        let ids: Vec<_> = checkouts.iter().map(ToString::to_string).collect();
        let found: Option<Hyphenated> = sqlx::query_scalar(UNPUBLISHED)
            .bind(json!(ids).to_string())
            .fetch_optional(self.0.reader())
            .await?;
        Ok(found.map(|id| CheckoutId(id.into_uuid())))
    }

    async fn forget(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError> {
        let (user, ids) = (user.clone(), checkouts.iter().map(ToString::to_string).collect());
        let forgotten = self
            .0
            .write(commits::ERASE, move |tx| forget(tx, user, ids).boxed())
            .await?;
        self.0.scrub().await?;
        Ok(forgotten)
    }
}

async fn forget(tx: &mut SqliteConnection, user: UserId, ids: Vec<String>) -> Result<u64, StoreError> {
    let ids = json!(ids).to_string();
    let forgotten = sqlx::query(FORGET)
        .bind(proto::ids::ERASED_USER)
        .bind(&ids)
        .bind(user.into_string())
        .execute(&mut *tx)
        .await?;
    sqlx::query(FORGET_EVENTS).bind(&ids).execute(tx).await?;
    Ok(forgotten.rows_affected())
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection};

    use super::*;

    #[tokio::test]
    async fn every_query_of_the_customer_records_uses_an_index() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for migration in MIGRATIONS.0 {
            sqlx::raw_sql(*migration).execute(&mut db).await.unwrap();
        }
        for (sql, index) in [
            (WITHOUT_HOLD, "checkouts_unheld (user_id=?)"),
            (USER_CHECKOUTS, "(user_id=?)"),
            (UNPUBLISHED, "outbox_unpublished"),
            (FORGET, "(id=?)"),
            (FORGET_EVENTS, "outbox_by_key (key=?)"),
        ] {
            let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
            let rows = plan.fetch_all(&mut db).await.unwrap();
            let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(steps.iter().any(|step| step.contains(index)), "{sql}: {steps:?}");
        }
    }
}
