//! What the journal in PostgreSQL keeps of customers.

use async_trait::async_trait;
use futures::FutureExt;
use sqlx::{PgConnection, Row};
use storage::StoreError;
use uuid::Uuid;

use super::PostgresJournal;
use crate::{
    domain::{CheckoutId, UserId},
    ports::{CustomerRecords, Ended},
};

/// Those that have not ended come first.
const ENDED: &str = "SELECT id, state IN ('COMPLETED', 'FAILED') AS has_ended FROM checkouts WHERE user_id = $1
    ORDER BY has_ended, id LIMIT $2";
const UNPUBLISHED: &str = "SELECT key::uuid FROM outbox WHERE published_at IS NULL AND key = ANY($1) LIMIT 1";
const FORGET: &str = "
    WITH theirs AS (
        SELECT id FROM checkouts WHERE id = ANY($2) AND user_id = $3 AND state IN ('COMPLETED', 'FAILED')
        ORDER BY id FOR UPDATE)
    UPDATE checkouts SET user_id = $1 || checkouts.id::text, idempotency_key = 'erased', fingerprint = 'erased',
        payment_method = 'erased', cart_id = NULL
    FROM theirs WHERE checkouts.id = theirs.id";
const FORGET_EVENTS: &str = "DELETE FROM outbox WHERE published_at IS NOT NULL AND key = ANY($1)";

#[async_trait]
impl CustomerRecords for PostgresJournal {
    async fn ended(&self, user: &UserId, limit: usize) -> Result<Ended, StoreError> {
        let rows = sqlx::query(ENDED)
            .bind(&user.0)
            .bind(i64::try_from(limit).map_err(StoreError::corrupt)?)
            .fetch_all(self.0.reader())
            .await?;
        let mut ended = Vec::with_capacity(rows.len());
        for row in rows {
            let id = CheckoutId(row.try_get("id")?);
            if !row.try_get("has_ended")? {
                return Ok(Ended::Unfinished(id));
            }
            ended.push(id);
        }
        Ok(Ended::All(ended))
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
            .write("checkout.erase", move |tx| forget(tx, user, ids).boxed())
            .await
    }
}

async fn forget(tx: &mut PgConnection, user: UserId, ids: Vec<Uuid>) -> Result<u64, StoreError> {
    let keys: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let forgotten = sqlx::query(FORGET)
        .bind(proto::convert::ERASED_USER)
        .bind(ids)
        .bind(user.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query(FORGET_EVENTS).bind(keys).execute(tx).await?;
    Ok(forgotten.rows_affected())
}
