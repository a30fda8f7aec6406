//! The provider's books in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{
    PgConnection, Row,
    postgres::{PgExecutor, PgRow},
};
use storage::{Migrations, OpenError, Postgres, PostgresAddress, PostgresOptions, StoreError, timestamptz};

use super::{
    entry::{self, Entry},
    ledger::{Attempt, Booked, Ledger, Order},
};
use crate::{
    commits,
    domain::{IdempotencyKey, Standing},
    store::row,
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../../migrations/provider/postgres/0001_init.sql")]);

/// Whoever writes under a key waits here for its turn, until the one before has committed. The key's rows cannot stand for
/// that: before its charge there are none.
macro_rules! turn {
    () => {
        "SELECT pg_advisory_xact_lock(hashtextextended('idempotency key ' || $1, 0))"
    };
}

/// A key has a charge or a tombstone, never both.
macro_rules! entry {
    () => {
        "SELECT CASE WHEN r.idempotency_key IS NULL THEN c.outcome ELSE 'REFUNDED' END AS standing, \
         c.decline_reason, c.amount, c.currency, c.method \
         FROM charges c LEFT JOIN refunds r USING (idempotency_key) WHERE c.idempotency_key = $1 \
         UNION ALL \
         SELECT 'CANCELLED', NULL, NULL, NULL, NULL FROM tombstones WHERE idempotency_key = $1"
    };
}

const TURN: &str = turn!();
const COUNT: &str = concat!(
    "WITH turn AS MATERIALIZED (",
    turn!(),
    ") INSERT INTO attempts (idempotency_key, attempts) SELECT $1, 1 FROM turn \
     ON CONFLICT (idempotency_key) DO UPDATE SET attempts = attempts.attempts + 1 RETURNING attempts"
);
const FIND: &str = entry!();
/// Books the charge unless the key has an entry, with which it answers.
const BOOK: &str = concat!(
    "WITH entry AS (",
    entry!(),
    "), booked AS (INSERT INTO charges \
        (idempotency_key, charge_id, amount, currency, method, outcome, decline_reason, created_at) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE NOT EXISTS (SELECT 1 FROM entry)) \
     SELECT * FROM entry"
);
/// Gives back what was charged, or leaves a tombstone where there is no entry. Answers with the entry as it was.
const GIVE_BACK: &str = concat!(
    "WITH entry AS (",
    entry!(),
    "), refunded AS (INSERT INTO refunds (idempotency_key, amount, currency, created_at) \
        SELECT $1, amount, currency, $2 FROM entry WHERE standing = 'SUCCEEDED'), \
     buried AS (INSERT INTO tombstones (idempotency_key, created_at) \
        SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM entry)) \
     SELECT * FROM entry"
);

/// The books in one schema.
#[derive(Debug, Clone)]
pub struct PostgresLedger(Postgres);

impl PostgresLedger {
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
impl Ledger for PostgresLedger {
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

async fn attempt(tx: &mut PgConnection, order: Order) -> Result<Attempt, StoreError> {
    let number: i64 = sqlx::query_scalar(COUNT)
        .bind(order.key.as_str())
        .fetch_one(&mut *tx)
        .await?;
    let number = u32::try_from(number).map_err(StoreError::corrupt)?;
    let booked = if number <= order.down_for {
        Booked::Down
    } else {
        book(tx, &order).await?
    };
    Ok(Attempt { number, booked })
}

/// A statement of its own behind the one that waited for its turn, so that it sees what was committed meanwhile.
async fn book(tx: &mut PgConnection, order: &Order) -> Result<Booked, StoreError> {
    let (outcome, reason, standing) = entry::outcome(order.verdict);
    let found = sqlx::query(BOOK)
        .bind(order.key.as_str())
        .bind(order.charge_id.0)
        .bind(order.terms.amount.minor_units())
        .bind(order.terms.amount.currency().to_string())
        .bind(order.terms.method.as_str())
        .bind(outcome)
        .bind(reason)
        .bind(timestamptz(order.at))
        .fetch_optional(tx)
        .await?;
    match found {
        Some(row) => Ok(decode(&row)?.answer(order)),
        None => Ok(Booked::Stands(standing)),
    }
}

async fn give_back(tx: &mut PgConnection, key: IdempotencyKey, at: Timestamp) -> Result<Standing, StoreError> {
    sqlx::query(TURN).bind(key.as_str()).execute(&mut *tx).await?;
    let found = sqlx::query(GIVE_BACK)
        .bind(key.as_str())
        .bind(timestamptz(at))
        .fetch_optional(tx)
        .await?;
    Ok(
        match found.as_ref().map(decode).transpose()?.map(|entry| entry.standing) {
            None => Standing::Cancelled,
            Some(Standing::Charged) => Standing::Refunded,
            Some(standing @ (Standing::Declined(_) | Standing::Refunded | Standing::Cancelled)) => standing,
        },
    )
}

async fn find(executor: impl PgExecutor<'_>, key: &IdempotencyKey) -> Result<Option<Entry>, StoreError> {
    let row = sqlx::query(FIND).bind(key.as_str()).fetch_optional(executor).await?;
    row.as_ref().map(decode).transpose()
}

fn decode(row: &PgRow) -> Result<Entry, StoreError> {
    let reason: Option<&str> = row.try_get("decline_reason")?;
    let amount: Option<i64> = row.try_get("amount")?;
    let terms = |amount| row::terms(amount, row.try_get("currency")?, row.try_get("method")?);
    Ok(Entry {
        standing: entry::standing(row.try_get("standing")?, reason)?,
        terms: amount.map(terms).transpose()?,
    })
}
