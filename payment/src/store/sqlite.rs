//! Payments in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{SqliteConnection, sqlite::SqliteExecutor};
use storage::{Migrations, OpenError, Row, Sqlite, SqliteOptions, StoreError};

use super::row::{self, no_payment};
use crate::{
    commits,
    domain::{self, ChargeStatus, CheckoutId, Payment},
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

    async fn record_intent(&self, intent: &Payment) -> Result<Payment, StoreError> {
        let intent = intent.clone();
        self.0
            .write(commits::INTENT, |tx| insert_intent(tx, intent).boxed())
            .await
    }

    async fn settle(&self, checkout: CheckoutId, status: ChargeStatus, at: Timestamp) -> Result<Payment, StoreError> {
        self.0
            .write(commits::SETTLE, move |tx| {
                async move {
                    let found = select(&mut *tx, checkout).await?.ok_or_else(no_payment)?;
                    advance(tx, found, status, at).await
                }
                .boxed()
            })
            .await
    }

    async fn record_refund(
        &self,
        checkout: CheckoutId,
        status: ChargeStatus,
        at: Timestamp,
    ) -> Result<Payment, StoreError> {
        self.0
            .write(commits::REFUND, move |tx| {
                async move {
                    match select(&mut *tx, checkout).await? {
                        Some(found) => advance(tx, found, status, at).await,
                        None => insert_tombstone(tx, checkout, status, at).await,
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

async fn insert_intent(tx: &mut SqliteConnection, intent: Payment) -> Result<Payment, StoreError> {
    insert(tx, &intent).await?;
    select(tx, intent.checkout_id).await?.ok_or_else(no_payment)
}

/// Inserts the row of a payment whose refund came before any charge.
async fn insert_tombstone(
    tx: &mut SqliteConnection,
    checkout_id: CheckoutId,
    status: ChargeStatus,
    created_at: Timestamp,
) -> Result<Payment, StoreError> {
    let state = domain::next_state(None, status).map_err(StoreError::corrupt)?;
    let payment = Payment {
        checkout_id,
        details: None,
        state,
        created_at,
    };
    insert(tx, &payment).await?;
    Ok(payment)
}

/// Moves a row that was read in this transaction to its next state.
async fn advance(
    tx: &mut SqliteConnection,
    found: Payment,
    status: ChargeStatus,
    at: Timestamp,
) -> Result<Payment, StoreError> {
    let state = domain::next_state(Some(found.state), status).map_err(StoreError::corrupt)?;
    if state == found.state {
        return Ok(found);
    }
    let update =
        "UPDATE payments SET state = ?, decline_reason = ?, updated_at = ? WHERE checkout_id = ? AND state = ?";
    let updated = sqlx::query(update)
        .bind(row::state_name(state))
        .bind(row::decline_reason(state))
        .bind(at.as_millisecond())
        .bind(found.checkout_id.to_string())
        .bind(row::state_name(found.state))
        .execute(tx)
        .await?;
    if updated.rows_affected() == 1 {
        Ok(Payment { state, ..found })
    } else {
        Err(StoreError::Conflict)
    }
}

/// Does nothing if the checkout has a payment.
async fn insert(tx: &mut SqliteConnection, payment: &Payment) -> Result<(), StoreError> {
    let details = payment.details.as_ref();
    let statement = "INSERT INTO payments (checkout_id, payment_id, amount, currency, method, state, decline_reason, \
                     created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (checkout_id) DO NOTHING";
    sqlx::query(statement)
        .bind(payment.checkout_id.to_string())
        .bind(details.map(|details| details.payment_id.to_string()))
        .bind(details.map(|details| details.terms.amount.minor_units()))
        .bind(details.map(|details| details.terms.amount.currency().to_string()))
        .bind(details.map(|details| details.terms.method.as_str().to_owned()))
        .bind(row::state_name(payment.state))
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
    row.map(|row| row::payment(checkout, Row::Sqlite(&row))).transpose()
}
