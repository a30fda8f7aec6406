//! The catalogue in SQLite.

use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::CrashPoints;
use sqlx::SqliteConnection;
use storage::{Migrations, OpenError, Sqlite, SqliteOptions, StoreError};

use super::{
    folding::{AT_ONCE, Folding, Found, fold_at_start, found},
    row::{ProductRow, columns, product},
};
use crate::{
    domain::{Details, Product, ProductId, Query, folded},
    ports::Catalogue,
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_starting_products.sql"),
    include_str!("../../migrations/sqlite/0003_search_folded.sql"),
]);

const PAGE: &str = concat!("SELECT ", columns!(), " FROM products WHERE id > ? ORDER BY id LIMIT ?");
/// instr, unlike LIKE, has no wildcards. One row more says that some rows are not folded yet, if that is so.
const SEARCH: &str = concat!(
    "SELECT * FROM (SELECT ",
    columns!(),
    ", false FROM products WHERE id > ?1
        AND NOT EXISTS (SELECT 1 FROM json_each(?2) AS word WHERE instr(search_folded, word.value) = 0)
        AND search_folded IS NOT NULL
      ORDER BY id LIMIT ?3)
     UNION ALL SELECT * FROM (SELECT ",
    columns!(),
    ", true FROM products WHERE search_folded IS NULL LIMIT 1)"
);
const UNFOLDED: &str = "SELECT id, search_text FROM products WHERE search_folded IS NULL ORDER BY id LIMIT ?";
/// The next one behind all others; where the largest is taken, the first that is free.
const NEXT_ID: &str = "
    SELECT CASE WHEN last < ?1 THEN last + 1 ELSE
        (SELECT min(id) + 1 FROM products AS taken WHERE NOT EXISTS (SELECT 1 FROM products WHERE id = taken.id + 1)) END
    FROM (SELECT coalesce(max(id), 0) AS last FROM products WHERE id <= ?1)";

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
        let catalogue = Self { db: db.clone() };
        fold_at_start(&catalogue).await;
        Ok((catalogue, db))
    }
}

#[async_trait]
impl Folding<i64> for SqliteCatalogue {
    async fn fold_some(&self) -> Result<bool, StoreError> {
        let write = self.db.write("product.fold", |tx| {
            async move {
                let rows: Vec<(i64, String)> = sqlx::query_as(UNFOLDED).bind(AT_ONCE).fetch_all(&mut *tx).await?;
                for (id, text) in &rows {
                    sqlx::query("UPDATE products SET search_folded = ? WHERE id = ?")
                        .bind(folded(text))
                        .bind(id)
                        .execute(&mut *tx)
                        .await?;
                }
                Ok(!rows.is_empty())
            }
            .boxed()
        });
        write.await
    }

    async fn search(&self, query: &Query, after: i64, limit: u32) -> Result<Vec<Found<i64>>, StoreError> {
        let search = sqlx::query_as(SEARCH)
            .bind(after)
            .bind(serde_json::json!(query.words()).to_string())
            .bind(limit);
        Ok(search.fetch_all(self.db.reader()).await?)
    }
}

#[async_trait]
impl Catalogue for SqliteCatalogue {
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, StoreError> {
        let after = after.map_or(0, ProductId::get);
        let rows: Vec<Row> = if query.words().is_empty() {
            let page = sqlx::query_as(PAGE).bind(after).bind(limit);
            page.fetch_all(self.db.reader()).await?
        } else {
            found(self, query, after, limit).await?
        };
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
    let id = match id {
        Some(id) => id.get(),
        None => {
            sqlx::query_scalar(NEXT_ID)
                .bind(proto::convert::MAX_PRODUCT_ID)
                .fetch_one(&mut *tx)
                .await?
        }
    };
    let row: Row = sqlx::query_as(concat!(
        "INSERT INTO products (",
        columns!(),
        ", search_text, search_folded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
            price_minor_units = excluded.price_minor_units, currency = excluded.currency, image_url = excluded.image_url,
            search_text = excluded.search_text, search_folded = excluded.search_folded
         RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(details.name())
    .bind(details.description())
    .bind(details.price().minor_units())
    .bind(details.price().currency().as_str())
    .bind(details.image_url())
    .bind(now.as_millisecond())
    .bind(details.search_text())
    .bind(folded(&details.search_text()))
    .fetch_one(tx)
    .await?;
    from_row(row)
}

fn from_row(row: Row) -> Result<Product, StoreError> {
    product(row, |millisecond| {
        Timestamp::from_millisecond(millisecond).map_err(StoreError::corrupt)
    })
}
