//! The provider's books in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{Row, SqliteConnection, sqlite::SqliteExecutor, sqlite::SqliteRow};
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};

use super::{
    entry::{self, Entry},
    ledger::{Attempt, Booked, Ledger, Order},
};
use crate::{
    commits,
    domain::{IdempotencyKey, Standing},
    store::row,
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../../migrations/provider/sqlite/0001_init.sql")]);

/// The books in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteLedger(Sqlite);

impl SqliteLedger {
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
impl Ledger for SqliteLedger {
    async fn charge(&self, order: Order) -> Result<Attempt, StoreError> {
        self.0
            .write(commits::PROVIDER_CHARGE, |tx| attempt(tx, order).boxed())
            .await
    }

    async fn refund(&self, key: &IdempotencyKey, at: Timestamp) -> Result<Standing, StoreError> {
        let key = key.clone();
        self.0
            .write(commits::PROVIDER_REFUND, move |tx| give_back(tx, key, at).boxed())
            .await
    }

    async fn find(&self, key: &IdempotencyKey) -> Result<Option<Standing>, StoreError> {
        Ok(find(self.0.reader(), key).await?.map(|entry| entry.standing))
    }

    fn transactions(&self) -> runtime::Tasks {
        self.0.transactions()
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
    if let Some(entry) = find(&mut *tx, &order.key).await? {
        return Ok(entry.answer(order));
    }
    let (outcome, reason, standing) = entry::outcome(order.verdict);
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
    let (statement, standing) = match find(&mut *tx, &key).await?.map(|entry| entry.standing) {
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

async fn find(executor: impl SqliteExecutor<'_>, key: &IdempotencyKey) -> Result<Option<Entry>, StoreError> {
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
    let reason: Option<&str> = row.try_get("decline_reason")?;
    let amount: Option<i64> = row.try_get("amount")?;
    let terms = |amount| row::terms(amount, row.try_get("currency")?, row.try_get("method")?);
    Ok(Entry {
        standing: entry::standing(row.try_get("standing")?, reason)?,
        terms: amount.map(terms).transpose()?,
    })
}
