//! Payments in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{PgConnection, postgres::PgExecutor};
use storage::{Migrations, OpenError, Postgres, PostgresAddress, PostgresOptions, Row, StoreError, timestamptz};

use super::row::{self, no_payment};
use crate::{
    commits,
    domain::{self, ChargeStatus, CheckoutId, Payment, State},
    ports::PaymentStore,
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../migrations/postgres/0001_init.sql")]);

macro_rules! columns {
    () => {
        " checkout_id, payment_id, amount, currency, method, state, decline_reason, created_at "
    };
}

const LOAD: &str = concat!("SELECT", columns!(), "FROM payments WHERE checkout_id = $1");
/// Returns no row if the checkout has a payment.
const INSERT: &str = concat!(
    "INSERT INTO payments (",
    columns!(),
    ", updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (checkout_id) DO NOTHING RETURNING",
    columns!()
);
/// Returns no row if the payment is in none of the states `$2`, or is leaving them in a concurrent transaction.
const ADVANCE: &str = concat!(
    "UPDATE payments SET state = $3, decline_reason = $4, updated_at = $5 \
     WHERE checkout_id = $1 AND state = ANY($2) RETURNING",
    columns!()
);

/// The payments of one schema.
#[derive(Debug, Clone)]
pub struct PostgresPaymentStore(Postgres);

impl PostgresPaymentStore {
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
impl PaymentStore for PostgresPaymentStore {
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
            .write(commits::SETTLE, move |tx| settle(tx, checkout, status, at).boxed())
            .await
    }

    async fn record_refund(
        &self,
        checkout: CheckoutId,
        status: ChargeStatus,
        at: Timestamp,
    ) -> Result<Payment, StoreError> {
        self.0
            .write(commits::REFUND, move |tx| refund(tx, checkout, status, at).boxed())
            .await
    }

    async fn is_up(&self) -> bool {
        self.0.is_up().await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.0.transactions()
    }
}

async fn insert_intent(tx: &mut PgConnection, intent: Payment) -> Result<Payment, StoreError> {
    match insert(&mut *tx, &intent).await? {
        Some(inserted) => Ok(inserted),
        // The row existed, or was committed while the insert waited for it: a new statement sees it.
        None => select(tx, intent.checkout_id).await?.ok_or_else(no_payment),
    }
}

async fn settle(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    status: ChargeStatus,
    at: Timestamp,
) -> Result<Payment, StoreError> {
    if let Some(settled) = advance(&mut *tx, checkout, status, at).await? {
        return Ok(settled);
    }
    let found = select(tx, checkout).await?.ok_or_else(no_payment)?;
    let state = domain::next_state(Some(found.state), status).map_err(StoreError::corrupt)?;
    if state == found.state {
        Ok(found)
    } else {
        // The payment was inserted between the two statements.
        Err(StoreError::Conflict)
    }
}

async fn refund(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    status: ChargeStatus,
    at: Timestamp,
) -> Result<Payment, StoreError> {
    if let Some(refunded) = advance(&mut *tx, checkout, status, at).await? {
        return Ok(refunded);
    }
    if select(&mut *tx, checkout).await?.is_none() {
        let tombstone = Payment {
            checkout_id: checkout,
            details: None,
            state: domain::next_state(None, status).map_err(StoreError::corrupt)?,
            created_at: at,
        };
        if let Some(inserted) = insert(&mut *tx, &tombstone).await? {
            return Ok(inserted);
        }
    }
    // The payment is final, or was inserted meanwhile.
    settle(tx, checkout, status, at).await
}

/// Moves the row to its next state in one statement, whose condition is the table of the rules. `None` if no row moves.
async fn advance(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    status: ChargeStatus,
    at: Timestamp,
) -> Result<Option<Payment>, StoreError> {
    let state = domain::next_state(None, status).map_err(StoreError::corrupt)?;
    let leaves = |from: &State| *from != state && domain::next_state(Some(*from), status) == Ok(state);
    let from: Vec<_> = domain::NON_FINAL
        .into_iter()
        .filter(leaves)
        .map(row::state_name)
        .collect();
    let row = sqlx::query(ADVANCE)
        .bind(checkout.0)
        .bind(from)
        .bind(row::state_name(state))
        .bind(row::decline_reason(state))
        .bind(timestamptz(at))
        .fetch_optional(tx)
        .await?;
    row.map(|row| row::payment(checkout, Row::Postgres(&row))).transpose()
}

/// `None` if the checkout has a payment.
async fn insert(tx: &mut PgConnection, payment: &Payment) -> Result<Option<Payment>, StoreError> {
    let details = payment.details.as_ref();
    let row = sqlx::query(INSERT)
        .bind(payment.checkout_id.0)
        .bind(details.map(|details| details.payment_id.0))
        .bind(details.map(|details| details.terms.amount.minor_units()))
        .bind(details.map(|details| details.terms.amount.currency().to_string()))
        .bind(details.map(|details| details.terms.method.as_str()))
        .bind(row::state_name(payment.state))
        .bind(row::decline_reason(payment.state))
        .bind(timestamptz(payment.created_at))
        .fetch_optional(tx)
        .await?;
    row.map(|row| row::payment(payment.checkout_id, Row::Postgres(&row)))
        .transpose()
}

async fn select(executor: impl PgExecutor<'_>, checkout: CheckoutId) -> Result<Option<Payment>, StoreError> {
    let row = sqlx::query(LOAD).bind(checkout.0).fetch_optional(executor).await?;
    row.map(|row| row::payment(checkout, Row::Postgres(&row))).transpose()
}
