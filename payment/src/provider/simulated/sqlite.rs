//! The provider's books in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use money::Money;
use runtime::CrashPoints;
use sqlx::{Row, SqliteConnection, sqlite::SqliteExecutor, sqlite::SqliteRow};
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};

use super::ledger::{Attempt, Booked, IdempotencyKey, Ledger, Order, Verdict};
use crate::domain::{DeclineReason, Standing, Terms};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../../migrations/provider/sqlite/0001_init.sql")]);

/// The books in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteLedger(Sqlite);

impl SqliteLedger {
    pub async fn open(path: &Path, crash: &CrashPoints) -> Result<Self, OpenError> {
        Ok(Self(
            Sqlite::open(SqliteOptions {
                path,
                migrations: MIGRATIONS,
                crash,
            })
            .await?,
        ))
    }
}

/// What is on the page of one key.
struct Entry {
    standing: Standing,
    /// What was charged; absent for a tombstone.
    terms: Option<Terms>,
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn charge(&self, order: Order) -> Result<Attempt, StoreError> {
        self.0.write("provider.charge", |tx| attempt(tx, order).boxed()).await
    }

    async fn refund(&self, key: &IdempotencyKey, at: Timestamp) -> Result<Standing, StoreError> {
        let key = key.clone();
        self.0
            .write("provider.refund", move |tx| give_back(tx, key, at).boxed())
            .await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Standing>, StoreError> {
        Ok(entry(self.0.reader(), key).await?.map(|entry| entry.standing))
    }
}

async fn attempt(tx: &mut SqliteConnection, order: Order) -> Result<Attempt, StoreError> {
    let number = count_attempt(&mut *tx, &order.key).await?;
    Ok(Attempt {
        number,
        booked: book(tx, &order, number).await?,
    })
}

async fn count_attempt(tx: &mut SqliteConnection, key: &IdempotencyKey) -> Result<u32, StoreError> {
    let count = "INSERT INTO attempts (idempotency_key, attempts) VALUES (?, 1) \
                 ON CONFLICT (idempotency_key) DO UPDATE SET attempts = attempts + 1 RETURNING attempts";
    Ok(sqlx::query_scalar(count)
        .bind(key.as_str().to_owned())
        .fetch_one(tx)
        .await?)
}

async fn book(tx: &mut SqliteConnection, order: &Order, number: u32) -> Result<Booked, StoreError> {
    if number <= order.down_for {
        return Ok(Booked::Down);
    }
    if let Some(entry) = entry(&mut *tx, &order.key).await? {
        let other = entry.terms.is_some_and(|terms| terms != order.terms);
        return Ok(if other {
            Booked::OtherCharge
        } else {
            Booked::Stands(entry.standing)
        });
    }
    let (outcome, reason, standing) = match order.verdict {
        Verdict::Succeeded => ("SUCCEEDED", None, Standing::Charged),
        Verdict::Declined(reason) => ("DECLINED", Some(reason.as_str()), Standing::Declined(reason)),
    };
    let statement = "INSERT INTO charges (idempotency_key, charge_id, amount, currency, method, outcome, \
                     decline_reason, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(statement)
        .bind(order.key.as_str())
        .bind(order.charge_id.0.to_string())
        .bind(order.terms.amount.minor_units())
        .bind(order.terms.amount.currency().to_string())
        .bind(order.terms.method.as_str())
        .bind(outcome)
        .bind(reason)
        .bind(order.at.as_millisecond())
        .execute(tx)
        .await?;
    Ok(Booked::Stands(standing))
}

async fn give_back(tx: &mut SqliteConnection, key: IdempotencyKey, at: Timestamp) -> Result<Standing, StoreError> {
    let (statement, standing) = match entry(&mut *tx, &key).await?.map(|entry| entry.standing) {
        Some(standing @ (Standing::Declined(_) | Standing::Refunded | Standing::Cancelled)) => return Ok(standing),
        Some(Standing::Charged) => (
            "INSERT INTO refunds (idempotency_key, amount, currency, created_at) \
             SELECT idempotency_key, amount, currency, ?2 FROM charges WHERE idempotency_key = ?1",
            Standing::Refunded,
        ),
        None => (
            "INSERT INTO tombstones (idempotency_key, created_at) VALUES (?1, ?2)",
            Standing::Cancelled,
        ),
    };
    sqlx::query(statement)
        .bind(key.as_str().to_owned())
        .bind(at.as_millisecond())
        .execute(tx)
        .await?;
    Ok(standing)
}

async fn entry(executor: impl SqliteExecutor<'_>, key: &IdempotencyKey) -> Result<Option<Entry>, StoreError> {
    // A key has a charge or a tombstone, never both.
    let statement = "SELECT CASE WHEN r.idempotency_key IS NULL THEN c.outcome ELSE 'REFUNDED' END AS standing, \
                     c.decline_reason, c.amount, c.currency, c.method \
                     FROM charges c LEFT JOIN refunds r USING (idempotency_key) WHERE c.idempotency_key = ?1 \
                     UNION ALL \
                     SELECT 'CANCELLED', NULL, NULL, NULL, NULL FROM tombstones WHERE idempotency_key = ?1";
    let row = sqlx::query(statement)
        .bind(key.as_str().to_owned())
        .fetch_optional(executor)
        .await?;
    row.map(|row| decode(&row)).transpose()
}

fn decode(row: &SqliteRow) -> Result<Entry, StoreError> {
    let standing: String = row.try_get("standing")?;
    let reason: Option<String> = row.try_get("decline_reason")?;
    let standing = match (standing.as_str(), reason.as_deref().and_then(DeclineReason::parse)) {
        ("SUCCEEDED", None) => Standing::Charged,
        ("DECLINED", Some(reason)) => Standing::Declined(reason),
        ("REFUNDED", None) => Standing::Refunded,
        ("CANCELLED", None) => Standing::Cancelled,
        _ => return Err(StoreError::corrupt(format!("no such outcome: {standing}, {reason:?}"))),
    };
    let amount: Option<i64> = row.try_get("amount")?;
    let terms = amount.map(|amount| decode_terms(amount, row)).transpose()?;
    Ok(Entry { standing, terms })
}

fn decode_terms(amount: i64, row: &SqliteRow) -> Result<Terms, StoreError> {
    let currency: String = row.try_get("currency")?;
    let method: String = row.try_get("method")?;
    Ok(Terms {
        amount: Money::new(amount, currency.parse().map_err(StoreError::corrupt)?),
        method: method.parse().map_err(StoreError::corrupt)?,
    })
}
