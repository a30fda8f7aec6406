//! Payments in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::{
    PgConnection, Row,
    postgres::{PgExecutor, PgRow},
};
use storage::{
    Migrations, OpenError, Postgres, PostgresAddress, PostgresOptions, SqlTimestamp, StoreError, timestamptz,
};
use uuid::Uuid;

use super::row::{self, missing};
use crate::{
    commits,
    domain::{self, CheckoutId, Opened, Payment, PaymentId, Standing, State},
    ports::PaymentStore,
};

const MIGRATIONS: Migrations = Migrations(&[include_str!("../../migrations/postgres/0001_init.sql")]);

macro_rules! columns {
    () => {
        " checkout_id, payment_id, amount, currency, method, state, decline_reason, created_at "
    };
}

const LOAD: &str = concat!("SELECT", columns!(), "FROM payments WHERE checkout_id = $1");
/// Answers with nothing when the checkout has a payment.
const KEEP: &str = concat!(
    "INSERT INTO payments (",
    columns!(),
    ", updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (checkout_id) DO NOTHING RETURNING",
    columns!()
);
/// Answers with nothing when the payment is in none of the states `$2`, also when it leaves them in this very moment.
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

    async fn open(&self, intent: &Payment) -> Result<Payment, StoreError> {
        let intent = intent.clone();
        self.0.write(commits::INTENT, |tx| keep(tx, intent).boxed()).await
    }

    async fn settle(&self, checkout: CheckoutId, standing: Standing, at: Timestamp) -> Result<Payment, StoreError> {
        self.0
            .write(commits::SETTLE, move |tx| settle(tx, checkout, standing, at).boxed())
            .await
    }

    async fn refund(&self, checkout: CheckoutId, standing: Standing, at: Timestamp) -> Result<Payment, StoreError> {
        self.0
            .write(commits::REFUND, move |tx| refund(tx, checkout, standing, at).boxed())
            .await
    }

    async fn is_up(&self) -> bool {
        self.0.is_up().await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.0.transactions()
    }
}

async fn keep(tx: &mut PgConnection, intent: Payment) -> Result<Payment, StoreError> {
    match insert(&mut *tx, &intent).await? {
        Some(kept) => Ok(kept),
        // The row was there, or came while this waited for it: a new statement sees it.
        None => select(tx, intent.checkout_id).await?.ok_or_else(missing),
    }
}

async fn settle(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    standing: Standing,
    at: Timestamp,
) -> Result<Payment, StoreError> {
    if let Some(settled) = advance(&mut *tx, checkout, standing, at).await? {
        return Ok(settled);
    }
    let found = select(tx, checkout).await?.ok_or_else(missing)?;
    let state = domain::after(Some(found.state), standing).map_err(StoreError::corrupt)?;
    if state == found.state {
        Ok(found)
    } else {
        // It was opened between the two statements.
        Err(StoreError::Conflict)
    }
}

async fn refund(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    standing: Standing,
    at: Timestamp,
) -> Result<Payment, StoreError> {
    if let Some(refunded) = advance(&mut *tx, checkout, standing, at).await? {
        return Ok(refunded);
    }
    if select(&mut *tx, checkout).await?.is_none() {
        let mark = Payment {
            checkout_id: checkout,
            opened: None,
            state: domain::after(None, standing).map_err(StoreError::corrupt)?,
            created_at: at,
        };
        if let Some(marked) = insert(&mut *tx, &mark).await? {
            return Ok(marked);
        }
    }
    // There is a payment: one that is final, or one that has come meanwhile.
    settle(tx, checkout, standing, at).await
}

/// Moves the row to what the books say, in one statement: the table of the rules, as far as it moves anything, is part of
/// the condition. `None` when nothing moves.
async fn advance(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    standing: Standing,
    at: Timestamp,
) -> Result<Option<Payment>, StoreError> {
    let state = domain::after(None, standing).map_err(StoreError::corrupt)?;
    let moves = |from: &State| *from != state && domain::after(Some(*from), standing) == Ok(state);
    let from: Vec<_> = domain::UNSETTLED.into_iter().filter(moves).map(row::name).collect();
    let row = sqlx::query(ADVANCE)
        .bind(checkout.0)
        .bind(from)
        .bind(row::name(state))
        .bind(row::decline_reason(state))
        .bind(timestamptz(at))
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(decode).transpose()
}

/// `None` when the checkout has a payment.
async fn insert(tx: &mut PgConnection, payment: &Payment) -> Result<Option<Payment>, StoreError> {
    let opened = payment.opened.as_ref();
    let row = sqlx::query(KEEP)
        .bind(payment.checkout_id.0)
        .bind(opened.map(|o| o.payment_id.0))
        .bind(opened.map(|o| o.terms.amount.minor_units()))
        .bind(opened.map(|o| o.terms.amount.currency().to_string()))
        .bind(opened.map(|o| o.terms.method.as_str()))
        .bind(row::name(payment.state))
        .bind(row::decline_reason(payment.state))
        .bind(timestamptz(payment.created_at))
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(decode).transpose()
}

async fn select(executor: impl PgExecutor<'_>, checkout: CheckoutId) -> Result<Option<Payment>, StoreError> {
    let row = sqlx::query(LOAD).bind(checkout.0).fetch_optional(executor).await?;
    row.as_ref().map(decode).transpose()
}

fn decode(row: &PgRow) -> Result<Payment, StoreError> {
    let reason: Option<&str> = row.try_get("decline_reason")?;
    let payment_id: Option<Uuid> = row.try_get("payment_id")?;
    let created_at: SqlTimestamp = row.try_get("created_at")?;
    Ok(Payment {
        checkout_id: CheckoutId(row.try_get("checkout_id")?),
        opened: payment_id.map(|id| decode_opened(id, row)).transpose()?,
        state: row::state(row.try_get("state")?, reason)?,
        created_at: created_at.to_jiff(),
    })
}

fn decode_opened(payment_id: Uuid, row: &PgRow) -> Result<Opened, StoreError> {
    Ok(Opened {
        payment_id: PaymentId(payment_id),
        terms: row::terms(row.try_get("amount")?, row.try_get("currency")?, row.try_get("method")?)?,
    })
}
