//! Stock and reservations in PostgreSQL. There are many writers, here and in other processes.
//!
//! **Lock order.** Whoever changes stock locks the rows of `stock` first, in the order of their products, and only then
//! writes anything else: the row of its reservation, or the receipt of a delivery. Who waits for one of those never locks
//! stock afterwards. So nobody waits in a circle, whichever products are bought together.
//!
//! **What a statement sees** is what was committed before it began, except for the rows that it locks or updates: of those
//! it gets the newest version, and asks its conditions again. So each decides by rows that it has locked. But a CHECK is
//! asked of the version from before, too: a statement takes stock only where there was enough when it began.

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
    domain::{CheckoutId, Delivery, KeyReused, Lines, Movement, ProductId, Refusal, Settlement, Stock},
    ports::StockStore,
};
use reservations::IfShort;

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    include_str!("../../migrations/postgres/0002_starting_stock.sql"),
]);

/// Holds that are given back in one transaction on behalf of somebody who needs their stock.
const BATCH: u32 = 200;

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
    /// Opens the schema, and writes the starting stock when it makes it.
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

    /// The answer, or `None` if stock is short while holds have run out.
    async fn try_reserve(
        &self,
        checkout: CheckoutId,
        lines: &Lines,
        ttl: Duration,
        if_short: IfShort,
    ) -> Result<Option<Result<Timestamp, Refusal>>, StoreError> {
        let lines = lines.clone();
        self.db
            .write(commits::RESERVE, move |tx| {
                reservations::reserve(tx, checkout, lines, ttl, if_short).boxed()
            })
            .await
    }

    /// The same for the end of a reservation.
    async fn try_settle(
        &self,
        checkout: CheckoutId,
        settlement: Settlement,
        if_short: IfShort,
    ) -> Result<Option<Result<(), Refusal>>, StoreError> {
        let label = match settlement {
            Settlement::Confirm => commits::CONFIRM,
            Settlement::Release => commits::RELEASE,
        };
        self.db
            .write(label, move |tx| {
                reservations::settle(tx, checkout, settlement, if_short).boxed()
            })
            .await
    }

    async fn settle(&self, checkout: CheckoutId, settlement: Settlement) -> Result<Result<(), Refusal>, StoreError> {
        if let Some(answer) = self.try_settle(checkout, settlement, IfShort::GiveBackFirst).await? {
            return Ok(answer);
        }
        self.give_back_all().await?;
        let answer = self.try_settle(checkout, settlement, IfShort::Refuse).await?;
        answer.ok_or(StoreError::Conflict)
    }

    /// Gives back every hold that has run out, in transactions of their own: a transaction that already holds stock must
    /// not lock more of it.
    async fn give_back_all(&self) -> Result<(), StoreError> {
        loop {
            let due = self.due(BATCH).await?;
            if due.is_empty() {
                return Ok(());
            }
            self.give_back(due).await?;
        }
    }

    async fn give_back(&self, due: Vec<Uuid>) -> Result<u32, StoreError> {
        self.db
            .write(commits::EXPIRE, move |tx| reservations::expire(tx, due).boxed())
            .await
    }

    /// Holds that have run out, the oldest first.
    async fn due(&self, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        // The clock is read once, in a query of its own: otherwise it could not be looked up in the index.
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
        if let Some(answer) = self.try_reserve(checkout, lines, ttl, IfShort::GiveBackFirst).await? {
            return Ok(answer);
        }
        self.give_back_all().await?;
        let answer = self.try_reserve(checkout, lines, ttl, IfShort::Refuse).await?;
        answer.ok_or(StoreError::Conflict)
    }

    async fn confirm(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.settle(checkout, Settlement::Confirm).await
    }

    async fn release(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.settle(checkout, Settlement::Release).await
    }

    async fn expire(&self, limit: u32) -> Result<u32, StoreError> {
        let due = self.due(limit).await?;
        // Mostly there is nothing, and then no transaction is needed.
        if due.is_empty() {
            Ok(0)
        } else {
            self.give_back(due).await
        }
    }

    async fn receive(&self, delivery: &Delivery) -> Result<Result<Stock, KeyReused>, StoreError> {
        let attempt = || {
            let delivery = delivery.clone();
            self.db
                .write(commits::ADD_STOCK, move |tx| receive(tx, delivery).boxed())
        };
        match attempt().await {
            // Somebody used the key at the same time. What they did with it is there now.
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
