//! Stock and reservations in PostgreSQL, with many writers in many processes.
//!
//! **Lock order.** A transaction that changes stock first locks its rows of `stock`, in product order. Only then does
//! the transaction write anything else: its reservation, or the receipt of a delivery. A transaction that waits for one
//! of those never locks stock afterwards. So transactions never deadlock, whichever products are bought together.
//!
//! **Visibility.** A statement sees what was committed before it began. Of rows that it locks or updates, the statement
//! gets the newest version and evaluates its conditions again, so it decides by locked rows. A CHECK is also evaluated
//! for the version from before, so a statement takes stock only where there was enough when it began.

mod reservations;

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::PgConnection;
use storage::{Migrations, OpenError, Postgres, PostgresAddress, PostgresOptions, StoreError};
use uuid::Uuid;

use super::row::{self, StockRow};
use crate::{
    commits,
    domain::{CheckoutId, Delivery, KeyReused, Lines, Movement, ProductId, Refusal, SettleCommand, Stock},
    ports::StockStore,
};
use reservations::OnShortage;

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    include_str!("../../migrations/postgres/0002_starting_stock.sql"),
]);

/// Reservations in one transaction that expires them for a caller who needs their stock.
const BATCH_SIZE: u32 = 200;

/// The database's clock, in whole milliseconds.
macro_rules! now {
    () => {
        "date_trunc('milliseconds', clock_timestamp())"
    };
}
use now;

/// Stock, reservations and the ledger in one schema.
#[derive(Debug, Clone)]
pub struct PostgresStockStore {
    db: Postgres,
}

impl PostgresStockStore {
    /// Opens the schema. A new schema gets the initial stock.
    pub async fn open(address: &PostgresAddress, schema: &str, points: &Points) -> Result<(Self, Postgres), OpenError> {
        let db = Postgres::open(PostgresOptions {
            address,
            schema,
            migrations: MIGRATIONS,
            points,
        })
        .await?;
        Ok((Self { db: db.clone() }, db))
    }

    /// `None` if stock is short while reservations are due.
    async fn try_reserve(
        &self,
        checkout: CheckoutId,
        lines: &Lines,
        ttl: Duration,
        on_shortage: OnShortage,
    ) -> Result<Option<Result<Timestamp, Refusal>>, StoreError> {
        let lines = lines.clone();
        self.db
            .write(commits::RESERVE, move |tx| {
                reservations::reserve(tx, checkout, lines, ttl, on_shortage).boxed()
            })
            .await
    }

    /// `None` if stock is short while reservations are due.
    async fn try_settle(
        &self,
        checkout: CheckoutId,
        command: SettleCommand,
        on_shortage: OnShortage,
    ) -> Result<Option<Result<(), Refusal>>, StoreError> {
        let label = match command {
            SettleCommand::Confirm => commits::CONFIRM,
            SettleCommand::Release => commits::RELEASE,
        };
        self.db
            .write(label, move |tx| {
                reservations::settle(tx, checkout, command, on_shortage).boxed()
            })
            .await
    }

    async fn settle(&self, checkout: CheckoutId, command: SettleCommand) -> Result<Result<(), Refusal>, StoreError> {
        if let Some(answer) = self.try_settle(checkout, command, OnShortage::ExpireFirst).await? {
            return Ok(answer);
        }
        self.expire_all_due().await?;
        let answer = self.try_settle(checkout, command, OnShortage::Refuse).await?;
        answer.ok_or(StoreError::Conflict)
    }

    /// Expires all due reservations in their own transactions: a transaction that has locked stock must not lock more.
    async fn expire_all_due(&self) -> Result<(), StoreError> {
        loop {
            let due = self.due_reservations(BATCH_SIZE).await?;
            if due.is_empty() {
                return Ok(());
            }
            self.expire_reservations(due).await?;
        }
    }

    async fn expire_reservations(&self, due: Vec<Uuid>) -> Result<u32, StoreError> {
        self.db
            .write(commits::EXPIRE, move |tx| reservations::expire(tx, due).boxed())
            .await
    }

    /// The oldest first.
    async fn due_reservations(&self, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        // The sub-select reads the clock once. Without it the index cannot be used.
        let due = sqlx::query_scalar(
            "SELECT checkout_id FROM reservations WHERE state = 'HELD' AND expires_at <= (SELECT clock_timestamp())
             ORDER BY expires_at LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(self.db.reader())
        .await?;
        Ok(due)
    }
}

#[async_trait]
impl StockStore for PostgresStockStore {
    async fn stock(&self, products: Option<&[ProductId]>, limit: u32) -> Result<Vec<Stock>, StoreError> {
        let limit = i64::from(limit);
        let query = match products {
            None => {
                sqlx::query_as("SELECT product_id, on_hand, held FROM stock ORDER BY product_id LIMIT $1").bind(limit)
            }
            Some(products) => sqlx::query_as(
                "SELECT product_id, on_hand, held FROM stock WHERE product_id = ANY($2) ORDER BY product_id LIMIT $1",
            )
            .bind(limit)
            .bind(products.iter().map(|id| id.get()).collect::<Vec<_>>()),
        };
        let rows: Vec<StockRow> = query.fetch_all(self.db.reader()).await?;
        rows.into_iter().map(row::stock).collect()
    }

    async fn reserve(
        &self,
        checkout: CheckoutId,
        lines: &Lines,
        ttl: Duration,
    ) -> Result<Result<Timestamp, Refusal>, StoreError> {
        if let Some(answer) = self.try_reserve(checkout, lines, ttl, OnShortage::ExpireFirst).await? {
            return Ok(answer);
        }
        self.expire_all_due().await?;
        let answer = self.try_reserve(checkout, lines, ttl, OnShortage::Refuse).await?;
        answer.ok_or(StoreError::Conflict)
    }

    async fn confirm(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.settle(checkout, SettleCommand::Confirm).await
    }

    async fn release(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.settle(checkout, SettleCommand::Release).await
    }

    async fn expire(&self, limit: u32) -> Result<u32, StoreError> {
        let due = self.due_reservations(limit).await?;
        // Usually no reservation is due, and no transaction is needed.
        if due.is_empty() {
            Ok(0)
        } else {
            self.expire_reservations(due).await
        }
    }

    async fn receive(&self, delivery: &Delivery) -> Result<Result<Stock, KeyReused>, StoreError> {
        let attempt = || {
            let delivery = delivery.clone();
            self.db
                .write(commits::ADD_STOCK, move |tx| receive(tx, delivery).boxed())
        };
        match attempt().await {
            // Another call used the key at the same time. Its receipt is committed now.
            Err(StoreError::Conflict) => attempt().await,
            answer => answer,
        }
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

async fn receive(tx: &mut PgConnection, delivery: Delivery) -> Result<Result<Stock, KeyReused>, StoreError> {
    let (key, product, quantity) = (delivery.key.as_str(), delivery.product.get(), delivery.quantity.get());
    let first: Option<(i64, i64, i64, i64)> =
        sqlx::query_as("SELECT product_id, quantity, on_hand, held FROM receipts WHERE idempotency_key = $1")
            .bind(key)
            .fetch_optional(&mut *tx)
            .await?;
    if let Some((first_product, first_quantity, on_hand, held)) = first {
        let same = (first_product, first_quantity) == (product, quantity);
        return if same {
            row::stock((product, on_hand, held)).map(Ok)
        } else {
            Ok(Err(KeyReused))
        };
    }
    let (on_hand_delta, held_delta) = Movement::Received.deltas();
    let after: StockRow = sqlx::query_as(concat!(
        "WITH moved AS (
            INSERT INTO stock (product_id, on_hand, held) VALUES ($4, $2 * $5, $3 * $5) ON CONFLICT (product_id)
            DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand, held = stock.held + excluded.held
            RETURNING product_id, on_hand, held
         ), written AS (
            INSERT INTO ledger (kind, product_id, on_hand_delta, held_delta, idempotency_key, at)
            SELECT $1, product_id, $2 * $5, $3 * $5, $6, ",
        now!(),
        " FROM moved
         ), noted AS (
            INSERT INTO receipts (idempotency_key, product_id, quantity, on_hand, held, at)
            SELECT $6, product_id, $5, on_hand, held, ",
        now!(),
        " FROM moved
         )
         SELECT product_id, on_hand, held FROM moved"
    ))
    .bind(Movement::Received.name())
    .bind(on_hand_delta)
    .bind(held_delta)
    .bind(product)
    .bind(quantity)
    .bind(key)
    .fetch_one(tx)
    .await?;
    row::stock(after).map(Ok)
}
