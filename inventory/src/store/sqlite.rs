//! Stock and reservations in SQLite. With one writer, what a transaction reads stays true until its commit.

mod reservations;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::Points;
use sqlx::SqliteConnection;
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};

use super::row::{self, StockRow};
use crate::{
    commits,
    domain::{CheckoutId, Delivery, KeyReused, Lines, Movement, ProductId, Refusal, SettleCommand, Stock},
    ports::StockStore,
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_starting_stock.sql"),
]);

/// The database's clock, in milliseconds.
macro_rules! now {
    () => {
        "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)"
    };
}
use now;

/// Stock, reservations and the ledger in one file.
#[derive(Debug, Clone)]
pub struct SqliteStockStore {
    db: Sqlite,
}

impl SqliteStockStore {
    /// Opens the file. A new file gets the initial stock.
    pub async fn open(path: &Path, points: &Points) -> Result<(Self, Sqlite), OpenError> {
        let db = Sqlite::open(SqliteOptions {
            path,
            migrations: MIGRATIONS,
            points,
        })
        .await?;
        Ok((Self { db: db.clone() }, db))
    }
}

#[async_trait]
impl StockStore for SqliteStockStore {
    async fn stock(&self, products: Option<&[ProductId]>, limit: u32) -> Result<Vec<Stock>, StoreError> {
        let query = match products {
            None => sqlx::query_as("SELECT product_id, on_hand, held FROM stock ORDER BY product_id LIMIT ?"),
            Some(products) => sqlx::query_as(
                "SELECT product_id, on_hand, held FROM stock
                 WHERE product_id IN (SELECT value FROM json_each(?)) ORDER BY product_id LIMIT ?",
            )
            .bind(serde_json::json!(products).to_string()),
        };
        let rows: Vec<StockRow> = query.bind(limit).fetch_all(self.db.reader()).await?;
        rows.into_iter().map(row::stock).collect()
    }

    async fn reserve(
        &self,
        checkout: CheckoutId,
        lines: &Lines,
        ttl: Duration,
    ) -> Result<Result<Timestamp, Refusal>, StoreError> {
        let lines = lines.clone();
        self.db
            .write(commits::RESERVE, move |tx| {
                reservations::reserve(tx, checkout, lines, ttl).boxed()
            })
            .await
    }

    async fn confirm(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.db
            .write(commits::CONFIRM, move |tx| {
                reservations::settle(tx, checkout, SettleCommand::Confirm).boxed()
            })
            .await
    }

    async fn release(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.db
            .write(commits::RELEASE, move |tx| {
                reservations::settle(tx, checkout, SettleCommand::Release).boxed()
            })
            .await
    }

    async fn expire(&self, limit: u32) -> Result<u32, StoreError> {
        // A read first: usually no reservation is due, and no transaction is needed.
        let has_due_reservations: bool = sqlx::query_scalar(concat!(
            "SELECT EXISTS (SELECT 1 FROM reservations WHERE state = 'HELD' AND expires_at <= ",
            now!(),
            ")"
        ))
        .fetch_one(self.db.reader())
        .await?;
        if !has_due_reservations {
            return Ok(0);
        }
        self.db
            .write(commits::EXPIRE, move |tx| reservations::expire(tx, limit).boxed())
            .await
    }

    async fn receive(&self, delivery: &Delivery) -> Result<Result<Stock, KeyReused>, StoreError> {
        let delivery = delivery.clone();
        self.db
            .write(commits::ADD_STOCK, move |tx| receive(tx, delivery).boxed())
            .await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

async fn receive(tx: &mut SqliteConnection, delivery: Delivery) -> Result<Result<Stock, KeyReused>, StoreError> {
    let (key, product, quantity) = (delivery.key.as_str(), delivery.product.get(), delivery.quantity.get());
    let first: Option<(i64, i64, i64, i64)> =
        sqlx::query_as("SELECT product_id, quantity, on_hand, held FROM receipts WHERE idempotency_key = ?")
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
    let after: StockRow = sqlx::query_as(
        "INSERT INTO stock (product_id, on_hand, held) VALUES (?1, ?2, ?3) ON CONFLICT (product_id)
         DO UPDATE SET on_hand = on_hand + ?2, held = held + ?3 RETURNING product_id, on_hand, held",
    )
    .bind(product)
    .bind(on_hand_delta * quantity)
    .bind(held_delta * quantity)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(concat!(
        "INSERT INTO ledger (kind, product_id, on_hand_delta, held_delta, idempotency_key, at)
         VALUES (?, ?, ?, ?, ?, ",
        now!(),
        ")"
    ))
    .bind(Movement::Received.name())
    .bind(product)
    .bind(on_hand_delta * quantity)
    .bind(held_delta * quantity)
    .bind(key)
    .execute(&mut *tx)
    .await?;
    sqlx::query(concat!(
        "INSERT INTO receipts (idempotency_key, product_id, quantity, on_hand, held, at) VALUES (?, ?, ?, ?, ?, ",
        now!(),
        ")"
    ))
    .bind(key)
    .bind(product)
    .bind(quantity)
    .bind(after.1)
    .bind(after.2)
    .execute(tx)
    .await?;
    row::stock(after).map(Ok)
}
