//! The catalogue in SQLite.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use futures::{FutureExt, lock::Mutex};
use jiff::Timestamp;
use runtime::Points;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use storage::{BoundedError, Migrations, OpenError, Row, Sqlite, SqliteBounded, SqliteOptions, StoreError};

use super::{
    LISTS, SEARCHES,
    row::{columns, product},
    search::{BATCH_SIZE, Search, SearchStore, backfill_at_start, find_matches, search_marked},
};
use crate::{
    commits,
    domain::{Details, Product, ProductId, Query},
    ports::Catalogue,
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_starting_products.sql"),
    include_str!("../../migrations/sqlite/0003_search_folded.sql"),
    include_str!("../../migrations/sqlite/0004_search_index.sql"),
]);

const PAGE: &str = concat!("SELECT ", columns!(), " FROM products WHERE id > ? ORDER BY id LIMIT ?");
/// The index returns the products with all phrases one by one in id order, so that only the page is read. `instr`
/// checks each match again, because the index treats some characters as equal.
const SEARCH: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM products_search CROSS JOIN products ON products.id = products_search.rowid
      WHERE products_search MATCH ?1 AND products_search.rowid > ?2 AND NOT EXISTS
        (SELECT 1 FROM json_each(?3) AS phrase WHERE instr(products.search_marked, phrase.value) = 0)
      ORDER BY products_search.rowid LIMIT ?4"
);
const IS_BACKFILLED: &str = "SELECT NOT EXISTS (SELECT 1 FROM products WHERE search_marked IS NULL)";
const UNMARKED: &str =
    "SELECT id, search_text FROM products WHERE search_marked IS NULL AND id > ? ORDER BY id LIMIT ?";
const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM products WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
);
/// The id after the largest one, or the first free id if the maximum is taken.
const NEXT_ID: &str = "
    SELECT CASE WHEN last < ?1 THEN last + 1 ELSE
        (SELECT min(id) + 1 FROM products AS taken WHERE NOT EXISTS (SELECT 1 FROM products WHERE id = taken.id + 1)) END
    FROM (SELECT coalesce(max(id), 0) AS last FROM products WHERE id <= ?1)";

#[derive(Debug, Clone)]
pub struct SqliteCatalogue {
    db: Sqlite,
    searches: SqliteBounded,
    lists: SqliteBounded,
    backfill_lock: Arc<Mutex<()>>,
}

impl SqliteCatalogue {
    /// Opens the file. A new file gets the initial products.
    pub async fn open(path: &Path, points: &Points) -> Result<(Self, Sqlite), OpenError> {
        let db = Sqlite::open(SqliteOptions {
            path,
            migrations: MIGRATIONS,
            points,
        })
        .await?;
        let catalogue = Self {
            db: db.clone(),
            searches: db.bounded(SEARCHES),
            lists: db.bounded(LISTS),
            backfill_lock: Arc::default(),
        };
        backfill_at_start(&catalogue).await;
        Ok((catalogue, db))
    }
}

#[async_trait]
impl SearchStore for SqliteCatalogue {
    async fn backfill_batch(&self, after: i64) -> Result<Option<i64>, StoreError> {
        let write = self.db.write(commits::BACKFILL, move |tx| {
            async move {
                let rows: Vec<(i64, String)> = sqlx::query_as(UNMARKED)
                    .bind(after)
                    .bind(BATCH_SIZE)
                    .fetch_all(&mut *tx)
                    .await?;
                for (id, text) in &rows {
                    sqlx::query("UPDATE products SET search_marked = ? WHERE id = ?")
                        .bind(search_marked(text))
                        .bind(id)
                        .execute(&mut *tx)
                        .await?;
                }
                Ok(rows.last().map(|(id, _)| *id))
            }
            .boxed()
        });
        write.await
    }

    async fn search(&self, search: Search) -> Result<(Vec<Product>, bool), BoundedError> {
        let read = self.searches.run(move |reader| {
            async move {
                let is_backfilled = sqlx::query_scalar(IS_BACKFILLED).fetch_one(&mut *reader).await?;
                let found = sqlx::query(SEARCH)
                    .bind(match_expression(&search.phrases))
                    .bind(search.after)
                    .bind(serde_json::json!(search.phrases).to_string())
                    .bind(search.limit)
                    .fetch_all(reader)
                    .await?;
                Ok((products(&found)?, is_backfilled))
            }
            .boxed()
        });
        read.await
    }

    fn backfill_lock(&self) -> &Mutex<()> {
        &self.backfill_lock
    }
}

/// An FTS5 query for all phrases.
fn match_expression(phrases: &[String]) -> String {
    let quoted = phrases
        .iter()
        .map(|phrase| format!("\"{}\"", phrase.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(" AND ")
}

#[async_trait]
impl Catalogue for SqliteCatalogue {
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, BoundedError> {
        let after = after.map_or(0, ProductId::get);
        if query.words().is_empty() {
            let list = self.lists.run(move |reader| {
                async move {
                    let page = sqlx::query(PAGE).bind(after).bind(limit);
                    products(&page.fetch_all(reader).await?)
                }
                .boxed()
            });
            list.await
        } else {
            find_matches(self, (query, after, limit)).await
        }
    }

    async fn find(&self, ids: &[ProductId]) -> Result<Vec<Product>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
        let found = sqlx::query(FIND)
            .bind(serde_json::json!(ids).to_string())
            .fetch_all(self.db.reader())
            .await?;
        products(&found)
    }

    async fn put(&self, id: Option<ProductId>, details: &Details, now: Timestamp) -> Result<Product, StoreError> {
        let details = details.clone();
        self.db
            .write(commits::UPSERT, move |tx| put(tx, id, details, now).boxed())
            .await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
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
                .bind(proto::ids::MAX_PRODUCT_ID)
                .fetch_one(&mut *tx)
                .await?
        }
    };
    let row = sqlx::query(concat!(
        "INSERT INTO products (",
        columns!(),
        ", search_text, search_marked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
            price_minor_units = excluded.price_minor_units, currency = excluded.currency, image_url = excluded.image_url,
            search_text = excluded.search_text, search_marked = excluded.search_marked
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
    .bind(search_marked(&details.search_text()))
    .fetch_one(tx)
    .await?;
    product(Row::Sqlite(&row))
}

fn products(rows: &[SqliteRow]) -> Result<Vec<Product>, StoreError> {
    rows.iter().map(|row| product(Row::Sqlite(row))).collect()
}

#[cfg(test)]
mod tests;
