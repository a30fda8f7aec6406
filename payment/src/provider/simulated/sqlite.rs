//! The provider's ledger in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{SqliteConnection, sqlite::SqliteExecutor};
use storage::{Migrations, OpenError, Row, Sqlite, SqliteOptions, StoreError};

use super::{
    entry::{self, LedgerEntry},
    ledger::{AttemptOutcome, AttemptResult, ChargeAttempt, ProviderLedger},
};
use crate::{
    commits,
    domain::{ChargeStatus, IdempotencyKey},
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../../migrations/provider/sqlite/0001_init.sql")]);

/// The ledger in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteProviderLedger(Sqlite);

impl SqliteProviderLedger {
    pub async fn open(path: &Path, points: &Points) -> Result<Self, OpenError> {
        Ok(Self(
            Sqlite::open(SqliteOptions {
                path,
                migrations: MIGRATIONS,
                points,
            })
            .await?,
        ))
    }
}

#[async_trait]
impl ProviderLedger for SqliteProviderLedger {
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

async fn charge(tx: &mut SqliteConnection, attempt: ChargeAttempt) -> Result<AttemptResult, StoreError> {
    let number = increment_attempts(&mut *tx, &attempt.key).await?;
    Ok(AttemptResult {
        number,
        outcome: record_charge(tx, &attempt, number).await?,
    })
}

async fn increment_attempts(tx: &mut SqliteConnection, key: &IdempotencyKey) -> Result<u32, StoreError> {
    let count = "INSERT INTO attempts (idempotency_key, attempts) VALUES (?, 1) \
                 ON CONFLICT (idempotency_key) DO UPDATE SET attempts = attempts + 1 RETURNING attempts";
    Ok(sqlx::query_scalar(count)
        .bind(key.as_str().to_owned())
        .fetch_one(tx)
        .await?)
}

async fn record_charge(
    tx: &mut SqliteConnection,
    attempt: &ChargeAttempt,
    number: u32,
) -> Result<AttemptOutcome, StoreError> {
    if number <= attempt.down_for {
        return Ok(AttemptOutcome::Down);
    }
    if let Some(entry) = find(&mut *tx, &attempt.key).await? {
        return Ok(entry.outcome_of(attempt));
    }
    let (outcome, reason, status) = entry::columns(attempt.decision);
    let statement = "INSERT INTO charges (idempotency_key, charge_id, amount, currency, method, outcome, \
                     decline_reason, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(statement)
        .bind(attempt.key.as_str())
        .bind(attempt.charge_id.0.to_string())
        .bind(attempt.terms.amount.minor_units())
        .bind(attempt.terms.amount.currency().to_string())
        .bind(attempt.terms.method.as_str())
        .bind(outcome)
        .bind(reason)
        .bind(attempt.at.as_millisecond())
        .execute(tx)
        .await?;
    Ok(AttemptOutcome::Recorded(status))
}

async fn refund(tx: &mut SqliteConnection, key: IdempotencyKey, at: Timestamp) -> Result<ChargeStatus, StoreError> {
    let (statement, status) = match find(&mut *tx, &key).await?.map(|entry| entry.status) {
        Some(status @ (ChargeStatus::Declined(_) | ChargeStatus::Refunded | ChargeStatus::Cancelled)) => {
            return Ok(status);
        }
        Some(ChargeStatus::Charged) => (
            "INSERT INTO refunds (idempotency_key, amount, currency, created_at) \
             SELECT idempotency_key, amount, currency, ?2 FROM charges WHERE idempotency_key = ?1",
            ChargeStatus::Refunded,
        ),
        None => (
            "INSERT INTO tombstones (idempotency_key, created_at) VALUES (?1, ?2)",
            ChargeStatus::Cancelled,
        ),
    };
    sqlx::query(statement)
        .bind(key.as_str().to_owned())
        .bind(at.as_millisecond())
        .execute(tx)
        .await?;
    Ok(status)
}

async fn find(executor: impl SqliteExecutor<'_>, key: &IdempotencyKey) -> Result<Option<LedgerEntry>, StoreError> {
    // A key has a charge or a tombstone, never both.
    let statement = "SELECT CASE WHEN r.idempotency_key IS NULL THEN c.outcome ELSE 'REFUNDED' END AS status, \
                     c.decline_reason, c.amount, c.currency, c.method \
                     FROM charges c LEFT JOIN refunds r USING (idempotency_key) WHERE c.idempotency_key = ?1 \
                     UNION ALL \
                     SELECT 'CANCELLED', NULL, NULL, NULL, NULL FROM tombstones WHERE idempotency_key = ?1";
    let row = sqlx::query(statement)
        .bind(key.as_str().to_owned())
        .fetch_optional(executor)
        .await?;
    row.map(|row| LedgerEntry::read(Row::Sqlite(&row))).transpose()
}
