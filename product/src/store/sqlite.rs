//! The catalogue in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::CrashPoints;
use sqlx::SqliteConnection;
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};

use super::row::{ProductRow, columns, product};
use crate::{
    domain::{Details, Product, ProductId, Query},
    ports::Catalogue,
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_starting_products.sql"),
]);

/// The times are in milliseconds.
type Row = ProductRow<i64>;

/// Products in one table; the text that queries look through is stored beside what it is made from.
#[derive(Debug, Clone)]
pub struct SqliteCatalogue {
    db: Sqlite,
}

impl SqliteCatalogue {
    /// Opens the file, and writes the starting products when it makes it.
    pub async fn open(path: &Path, crash: &CrashPoints) -> Result<(Self, Sqlite), OpenError> {
        let db = Sqlite::open(SqliteOptions {
            path,
            migrations: MIGRATIONS,
            crash,
        })
        .await?;
        Ok((Self { db: db.clone() }, db))
    }
}

#[async_trait]
impl Catalogue for SqliteCatalogue {
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, StoreError> {
        // instr, unlike LIKE, has no wildcards; it finds the empty text in all others.
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM products WHERE id > ? AND instr(search_text, ?) > 0 ORDER BY id LIMIT ?"
        ))
        .bind(after.map_or(0, ProductId::get))
        .bind(query.as_str())
        .bind(limit)
        .fetch_all(self.db.reader())
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    async fn find(&self, ids: &[ProductId]) -> Result<Vec<Product>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM products WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        ))
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(self.db.reader())
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    async fn put(&self, id: Option<ProductId>, details: &Details, now: Timestamp) -> Result<Product, StoreError> {
        let details = details.clone();
        self.db
            .write("product.upsert", move |tx| put(tx, id, details, now).boxed())
            .await
    }
}

async fn put(
    tx: &mut SqliteConnection,
    id: Option<ProductId>,
    details: Details,
    now: Timestamp,
) -> Result<Product, StoreError> {
    let row: Row = sqlx::query_as(concat!(
        "INSERT INTO products (",
        columns!(),
        ", search_text) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name,
         description = excluded.description, price_minor_units = excluded.price_minor_units,
         currency = excluded.currency, image_url = excluded.image_url, search_text = excluded.search_text RETURNING ",
        columns!()
    ))
    .bind(id.map(ProductId::get))
    .bind(details.name())
    .bind(details.description())
    .bind(details.price().minor_units())
    .bind(details.price().currency().as_str())
    .bind(details.image_url())
    .bind(now.as_millisecond())
    .bind(details.search_text())
    .fetch_one(tx)
    .await?;
    from_row(row)
}

fn from_row(row: Row) -> Result<Product, StoreError> {
    product(row, |millisecond| {
        Timestamp::from_millisecond(millisecond).map_err(StoreError::corrupt)
    })
}
