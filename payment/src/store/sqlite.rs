//! Payments in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{Row, SqliteConnection, sqlite::SqliteExecutor, sqlite::SqliteRow};
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};
use uuid::Uuid;

use super::row::{self, missing};
use crate::{
    commits,
    domain::{self, CheckoutId, Opened, Payment, PaymentId, Standing},
    ports::PaymentStore,
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../migrations/sqlite/0001_init.sql")]);

/// The payments of one SQLite file.
#[derive(Debug, Clone)]
pub struct SqlitePaymentStore(Sqlite);

impl SqlitePaymentStore {
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
impl PaymentStore for SqlitePaymentStore {
    async fn load(&self, checkout: CheckoutId) -> Result<Option<Payment>, StoreError> {
        select(self.0.reader(), checkout).await
    }

    async fn open(&self, intent: &Payment) -> Result<Payment, StoreError> {
        let intent = intent.clone();
        self.0.write(commits::INTENT, |tx| keep(tx, intent).boxed()).await
    }

    async fn settle(&self, checkout: CheckoutId, standing: Standing, at: Timestamp) -> Result<Payment, StoreError> {
        self.0
            .write(commits::SETTLE, move |tx| {
                async move {
                    let found = select(&mut *tx, checkout).await?.ok_or_else(missing)?;
                    advance(tx, found, standing, at).await
                }
                .boxed()
            })
            .await
    }

    async fn refund(&self, checkout: CheckoutId, standing: Standing, at: Timestamp) -> Result<Payment, StoreError> {
        self.0
            .write(commits::REFUND, move |tx| {
                async move {
                    match select(&mut *tx, checkout).await? {
                        Some(found) => advance(tx, found, standing, at).await,
                        None => cancel(tx, checkout, standing, at).await,
                    }
                }
                .boxed()
            })
            .await
    }

    async fn is_up(&self) -> bool {
        self.0.is_up().await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.0.transactions()
    }
}

async fn keep(tx: &mut SqliteConnection, intent: Payment) -> Result<Payment, StoreError> {
    insert(tx, &intent).await?;
    select(tx, intent.checkout_id).await?.ok_or_else(missing)
}

/// The row of a payment whose refund came before any charge.
async fn cancel(
    tx: &mut SqliteConnection,
    checkout_id: CheckoutId,
    standing: Standing,
    created_at: Timestamp,
) -> Result<Payment, StoreError> {
    let state = domain::after(None, standing).map_err(StoreError::corrupt)?;
    let payment = Payment {
        checkout_id,
        opened: None,
        state,
        created_at,
    };
    insert(tx, &payment).await?;
    Ok(payment)
}

/// Moves a row that was read in this transaction to what the books say.
async fn advance(
    tx: &mut SqliteConnection,
    found: Payment,
    standing: Standing,
    at: Timestamp,
) -> Result<Payment, StoreError> {
    let state = domain::after(Some(found.state), standing).map_err(StoreError::corrupt)?;
    if state == found.state {
        return Ok(found);
    }
    let update =
        "UPDATE payments SET state = ?, decline_reason = ?, updated_at = ? WHERE checkout_id = ? AND state = ?";
    let updated = sqlx::query(update)
        .bind(row::name(state))
        .bind(row::decline_reason(state))
        .bind(at.as_millisecond())
        .bind(found.checkout_id.to_string())
        .bind(row::name(found.state))
        .execute(tx)
        .await?;
    if updated.rows_affected() == 1 {
        Ok(Payment { state, ..found })
    } else {
        Err(StoreError::Conflict)
    }
}

/// Does nothing when the checkout has a payment.
async fn insert(tx: &mut SqliteConnection, payment: &Payment) -> Result<(), StoreError> {
    let opened = payment.opened.as_ref();
    let statement = "INSERT INTO payments (checkout_id, payment_id, amount, currency, method, state, decline_reason, \
                     created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (checkout_id) DO NOTHING";
    sqlx::query(statement)
        .bind(payment.checkout_id.to_string())
        .bind(opened.map(|o| o.payment_id.to_string()))
        .bind(opened.map(|o| o.terms.amount.minor_units()))
        .bind(opened.map(|o| o.terms.amount.currency().to_string()))
        .bind(opened.map(|o| o.terms.method.as_str().to_owned()))
        .bind(row::name(payment.state))
        .bind(row::decline_reason(payment.state))
        .bind(payment.created_at.as_millisecond())
        .bind(payment.created_at.as_millisecond())
        .execute(tx)
        .await?;
    Ok(())
}

async fn select(executor: impl SqliteExecutor<'_>, checkout: CheckoutId) -> Result<Option<Payment>, StoreError> {
    let statement = "SELECT payment_id, amount, currency, method, state, decline_reason, created_at FROM payments \
                     WHERE checkout_id = ?";
    let row = sqlx::query(statement)
        .bind(checkout.to_string())
        .fetch_optional(executor)
        .await?;
    row.map(|row| decode(checkout, &row)).transpose()
}

fn decode(checkout_id: CheckoutId, row: &SqliteRow) -> Result<Payment, StoreError> {
    let reason: Option<&str> = row.try_get("decline_reason")?;
    let payment_id: Option<&str> = row.try_get("payment_id")?;
    Ok(Payment {
        checkout_id,
        opened: payment_id.map(|id| decode_opened(id, row)).transpose()?,
        state: row::state(row.try_get("state")?, reason)?,
        created_at: Timestamp::from_millisecond(row.try_get("created_at")?).map_err(StoreError::corrupt)?,
    })
}

fn decode_opened(payment_id: &str, row: &SqliteRow) -> Result<Opened, StoreError> {
    Ok(Opened {
        payment_id: PaymentId(Uuid::parse_str(payment_id).map_err(StoreError::corrupt)?),
        terms: row::terms(row.try_get("amount")?, row.try_get("currency")?, row.try_get("method")?)?,
    })
}
