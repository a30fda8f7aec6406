//! The provider's ledger in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{PgConnection, postgres::PgExecutor};
use storage::{Migrations, OpenError, Postgres, PostgresAddress, PostgresOptions, Row, StoreError, timestamptz};

use super::{
    entry::{self, LedgerEntry},
    ledger::{AttemptOutcome, AttemptResult, ChargeAttempt, ProviderLedger},
};
use crate::{
    commits,
    domain::{ChargeStatus, IdempotencyKey},
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../../migrations/provider/postgres/0001_init.sql")]);

/// Locks a key until the transaction ends, so that its writers run one after another. The key's rows cannot be locked
/// instead: before the charge there are none.
macro_rules! lock_key {
    () => {
        "SELECT pg_advisory_xact_lock(hashtextextended('idempotency key ' || $1, 0))"
    };
}

/// A key has a charge or a tombstone, never both.
macro_rules! entry {
    () => {
        "SELECT CASE WHEN r.idempotency_key IS NULL THEN c.outcome ELSE 'REFUNDED' END AS status, \
         c.decline_reason, c.amount, c.currency, c.method \
         FROM charges c LEFT JOIN refunds r USING (idempotency_key) WHERE c.idempotency_key = $1 \
         UNION ALL \
         SELECT 'CANCELLED', NULL, NULL, NULL, NULL FROM tombstones WHERE idempotency_key = $1"
    };
}

const LOCK_KEY: &str = lock_key!();
const INCREMENT_ATTEMPTS: &str = concat!(
    "WITH turn AS MATERIALIZED (",
    lock_key!(),
    ") INSERT INTO attempts (idempotency_key, attempts) SELECT $1, 1 FROM turn \
     ON CONFLICT (idempotency_key) DO UPDATE SET attempts = attempts.attempts + 1 RETURNING attempts"
);
const FIND: &str = entry!();
/// Inserts the charge, or returns the key's entry if there is one.
const INSERT_CHARGE: &str = concat!(
    "WITH entry AS (",
    entry!(),
    "), recorded AS (INSERT INTO charges \
        (idempotency_key, charge_id, amount, currency, method, outcome, decline_reason, created_at) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE NOT EXISTS (SELECT 1 FROM entry)) \
     SELECT * FROM entry"
);
/// Refunds a charge, or leaves a tombstone if there is no entry. Returns the entry as it was before.
const INSERT_REFUND: &str = concat!(
    "WITH entry AS (",
    entry!(),
    "), refunded AS (INSERT INTO refunds (idempotency_key, amount, currency, created_at) \
        SELECT $1, amount, currency, $2 FROM entry WHERE status = 'SUCCEEDED'), \
     buried AS (INSERT INTO tombstones (idempotency_key, created_at) \
        SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM entry)) \
     SELECT * FROM entry"
);

/// The ledger in one schema.
#[derive(Debug, Clone)]
pub struct PostgresProviderLedger(Postgres);

impl PostgresProviderLedger {
    pub async fn open(address: &PostgresAddress, schema: &str, points: &Points) -> Result<Self, OpenError> {
        let options = PostgresOptions {
            address,
            schema,
            migrations: MIGRATIONS,
            points,
        };
        Ok(Self(Postgres::open(options).await?))
    }
}

#[async_trait]
impl ProviderLedger for PostgresProviderLedger {
    async fn charge(&self, attempt: ChargeAttempt) -> Result<AttemptResult, StoreError> {
        self.0
            .write(commits::PROVIDER_CHARGE, |tx| charge(tx, attempt).boxed())
            .await
    }

    async fn refund(&self, key: &IdempotencyKey, at: Timestamp) -> Result<ChargeStatus, StoreError> {
        let key = key.clone();
        self.0
            .write(commits::PROVIDER_REFUND, move |tx| refund(tx, key, at).boxed())
            .await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<ChargeStatus>, StoreError> {
        Ok(find(self.0.reader(), key).await?.map(|entry| entry.status))
    }

    fn transactions(&self) -> runtime::Tasks {
        self.0.transactions()
    }
}

async fn charge(tx: &mut PgConnection, attempt: ChargeAttempt) -> Result<AttemptResult, StoreError> {
    let number: i64 = sqlx::query_scalar(INCREMENT_ATTEMPTS)
        .bind(attempt.key.as_str())
        .fetch_one(&mut *tx)
        .await?;
    let number = u32::try_from(number).map_err(StoreError::corrupt)?;
    let outcome = if number <= attempt.down_for {
        AttemptOutcome::Down
    } else {
        record_charge(tx, &attempt).await?
    };
    Ok(AttemptResult { number, outcome })
}

/// A new statement after the one that waited for the lock: it sees what was committed meanwhile.
async fn record_charge(tx: &mut PgConnection, attempt: &ChargeAttempt) -> Result<AttemptOutcome, StoreError> {
    let (outcome, reason, status) = entry::columns(attempt.decision);
    let found = sqlx::query(INSERT_CHARGE)
        .bind(attempt.key.as_str())
        .bind(attempt.charge_id.0)
        .bind(attempt.terms.amount.minor_units())
        .bind(attempt.terms.amount.currency().to_string())
        .bind(attempt.terms.method.as_str())
        .bind(outcome)
        .bind(reason)
        .bind(timestamptz(attempt.at))
        .fetch_optional(tx)
        .await?;
    match found {
        Some(row) => Ok(LedgerEntry::read(Row::Postgres(&row))?.outcome_of(attempt)),
        None => Ok(AttemptOutcome::Recorded(status)),
    }
}

async fn refund(tx: &mut PgConnection, key: IdempotencyKey, at: Timestamp) -> Result<ChargeStatus, StoreError> {
    sqlx::query(LOCK_KEY).bind(key.as_str()).execute(&mut *tx).await?;
    let found = sqlx::query(INSERT_REFUND)
        .bind(key.as_str())
        .bind(timestamptz(at))
        .fetch_optional(tx)
        .await?;
    Ok(
        match found
            .map(|row| LedgerEntry::read(Row::Postgres(&row)))
            .transpose()?
            .map(|entry| entry.status)
        {
            None => ChargeStatus::Cancelled,
            Some(ChargeStatus::Charged) => ChargeStatus::Refunded,
            Some(status @ (ChargeStatus::Declined(_) | ChargeStatus::Refunded | ChargeStatus::Cancelled)) => status,
        },
    )
}

async fn find(executor: impl PgExecutor<'_>, key: &IdempotencyKey) -> Result<Option<LedgerEntry>, StoreError> {
    let row = sqlx::query(FIND).bind(key.as_str()).fetch_optional(executor).await?;
    row.map(|row| LedgerEntry::read(Row::Postgres(&row))).transpose()
}
