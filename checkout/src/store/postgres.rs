//! The migrations and the customer records in PostgreSQL.

use async_trait::async_trait;
use events::outbox;
use futures::FutureExt;
use sqlx::{PgConnection, Row};
use storage::{Migrations, Postgres, StoreError};
use uuid::Uuid;

use super::UNREAD_FOR;
use crate::{
    commits,
    domain::{CheckoutId, UserId},
    ports::{CheckoutWithoutHold, CustomerRecords, UserCheckouts},
};

pub const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    outbox::postgres::SCHEMA,
    include_str!("../../migrations/postgres/0002_holds.sql"),
    include_str!("../../migrations/postgres/0003_erasure.sql"),
    include_str!("../../migrations/postgres/0004_engine.sql"),
    ::saga::journal::postgres::SCHEMA,
]);

/// Parameters: user, cart version, age in seconds.
const WITHOUT_HOLD: &str = "SELECT id, state = 'COMPLETED' AS is_final FROM checkouts
    WHERE user_id = $1 AND cart_id IS NULL AND NOT held
        AND state IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING', 'PAYMENT_COMPLETED', 'COMPLETED')
        AND (state <> 'COMPLETED'
            OR (cart_version >= $2 AND updated_at > statement_timestamp() - $3 * interval '1 second')
            OR EXISTS (SELECT FROM outbox WHERE key = checkouts.id::text AND published_at IS NULL))
    ORDER BY is_final LIMIT 1";

/// Unfinished checkouts come first.
const USER_CHECKOUTS: &str = "SELECT id, state IN ('COMPLETED', 'FAILED') AS is_final FROM checkouts WHERE user_id = $1
    ORDER BY is_final, id LIMIT $2";
const UNPUBLISHED: &str = "SELECT key::uuid FROM outbox WHERE published_at IS NULL AND key = ANY($1) LIMIT 1";
const FORGET: &str = "
    WITH theirs AS (
        SELECT id FROM checkouts WHERE id = ANY($2) AND user_id = $3 AND state IN ('COMPLETED', 'FAILED')
        ORDER BY id FOR UPDATE)
    UPDATE checkouts SET user_id = $1 || checkouts.id::text, idempotency_key = 'erased', fingerprint = 'erased',
        payment_method = 'erased', cart_id = NULL
    FROM theirs WHERE checkouts.id = theirs.id";
const FORGET_EVENTS: &str = "DELETE FROM outbox WHERE published_at IS NOT NULL AND key = ANY($1)";

#[derive(Debug, Clone)]
pub struct PostgresRecords(pub Postgres);

#[async_trait]
impl CustomerRecords for PostgresRecords {
    async fn without_hold(&self, user: &UserId, cart_version: i64) -> Result<Option<CheckoutWithoutHold>, StoreError> {
        let row = sqlx::query(WITHOUT_HOLD)
            .bind(user.as_str())
            .bind(cart_version)
            .bind(i64::try_from(UNREAD_FOR.as_secs()).map_err(StoreError::corrupt)?)
            .fetch_optional(self.0.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(CheckoutWithoutHold {
            id: CheckoutId(row.try_get("id")?),
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
            let id = CheckoutId(row.try_get("id")?);
            if !row.try_get("is_final")? {
                return Ok(UserCheckouts::Unfinished(id));
            }
            ended.push(id);
        }
        Ok(UserCheckouts::AllFinal(ended))
    }

    async fn unpublished(&self, checkouts: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        let keys: Vec<_> = checkouts.iter().map(ToString::to_string).collect();
        let found: Option<Uuid> = sqlx::query_scalar(UNPUBLISHED)
            .bind(keys)
            .fetch_optional(self.0.reader())
            .await?;
        Ok(found.map(CheckoutId))
    }

    async fn forget(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError> {
        let (user, ids) = (user.clone(), checkouts.iter().map(|checkout| checkout.0).collect());
        self.0
            .write(commits::ERASE, move |tx| forget(tx, user, ids).boxed())
            .await
    }
}

async fn forget(tx: &mut PgConnection, user: UserId, ids: Vec<Uuid>) -> Result<u64, StoreError> {
    let keys: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let forgotten = sqlx::query(FORGET)
        .bind(proto::ids::ERASED_USER)
        .bind(ids)
        .bind(user.into_string())
        .execute(&mut *tx)
        .await?;
    sqlx::query(FORGET_EVENTS).bind(keys).execute(tx).await?;
    Ok(forgotten.rows_affected())
}
