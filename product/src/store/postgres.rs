//! The catalogue in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt, lock::Mutex};
use jiff::Timestamp;
use runtime::Points;
use sqlx::{PgConnection, postgres::PgRow};
use storage::{
    BoundedError, Migrations, OpenError, Postgres, PostgresAddress, PostgresBounded, PostgresOptions, Row, StoreError,
    timestamptz,
};

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
    include_str!("../../migrations/postgres/0001_init.sql"),
    include_str!("../../migrations/postgres/0002_starting_products.sql"),
    include_str!("../../migrations/postgres/0003_search_folded.sql"),
    include_str!("../../migrations/postgres/0004_search_index.sql"),
]);

/// Writes a product and returns the stored row.
macro_rules! insert {
    ($on_conflict:literal) => {
        concat!(
            "INSERT INTO products (",
            columns!(),
            ", search_text, search_marked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO ",
            $on_conflict,
            " RETURNING ",
            columns!()
        )
    };
}

const INSERT: &str = insert!("NOTHING");
const UPSERT: &str = insert!(
    "UPDATE SET name = excluded.name, description = excluded.description,
        price_minor_units = excluded.price_minor_units, currency = excluded.currency, image_url = excluded.image_url,
        search_text = excluded.search_text, search_marked = excluded.search_marked"
);
/// Moves the sequence behind the run of taken ids that begins with `$1`.
const SKIP_TAKEN_IDS: &str = "
    SELECT setval('products_id_seq', greatest(id, (SELECT last_value FROM products_id_seq))) FROM products AS taken
    WHERE id >= $1 AND NOT EXISTS (SELECT FROM products WHERE id = taken.id + 1) ORDER BY id LIMIT 1";

const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM products WHERE id > $1 ORDER BY id LIMIT $2"
);
/// Whether a product has all phrases; false for rows without `search_marked`. Unlike LIKE, position has no wildcards.
macro_rules! has_all {
    ($phrases:literal) => {
        concat!(
            "NOT EXISTS (SELECT FROM unnest(",
            $phrases,
            "::text[]) AS phrase WHERE position(phrase IN coalesce(search_marked, '')) = 0)"
        )
    };
}

/// Rows that a search scans before it uses the index. They fill a page if one product in 25 matches. If fewer do, the
/// index has few candidates.
const SCANNED_ROWS: i64 = 500;
const SEARCH_BY_SCAN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM (SELECT ",
    columns!(),
    ", search_marked FROM products WHERE id > $1 ORDER BY id LIMIT $4) AS near WHERE ",
    has_all!("$3"),
    " ORDER BY id LIMIT $2"
);
const HAS_MORE_ROWS: &str = "SELECT EXISTS (SELECT FROM products WHERE id > $1 ORDER BY id OFFSET $2)";
/// The index finds rows with all trigrams of all phrases. `id + 0` keeps the planner from a scan in id order, which
/// would compute the trigrams of every row.
const SEARCH_BY_INDEX: &str = concat!(
    "WITH found AS MATERIALIZED
       (SELECT id FROM products WHERE trigrams(search_marked) @> $4 AND id + 0 > $1 AND ",
    has_all!("$3"),
    ") SELECT ",
    columns!(),
    " FROM products WHERE id = ANY (ARRAY (SELECT id FROM found ORDER BY id LIMIT $2)) ORDER BY id"
);
const IS_BACKFILLED: &str = "SELECT NOT EXISTS (SELECT FROM products WHERE search_marked IS NULL)";
/// Locks in id order, so that concurrent backfills do not deadlock.
const UNMARKED: &str =
    "SELECT id, search_text FROM products WHERE search_marked IS NULL AND id > $1 ORDER BY id LIMIT $2 FOR UPDATE";
/// The planner has no statistics on unmarked rows yet and would sort all of them for each batch.
const DISABLE_SORT: &str = "SET LOCAL enable_sort = off";
const SET_MARKED: &str = "UPDATE products SET search_marked = marked.text
    FROM unnest($1::bigint[], $2::text[]) AS marked (id, text) WHERE products.id = marked.id";
const FIND: &str = concat!("SELECT ", columns!(), " FROM products WHERE id = ANY($1) ORDER BY id");

#[derive(Debug, Clone)]
pub struct PostgresCatalogue {
    db: Postgres,
    searches: PostgresBounded,
    lists: PostgresBounded,
    backfill_lock: Arc<Mutex<()>>,
}

impl PostgresCatalogue {
    /// Opens the schema. A new schema gets the initial products.
    pub async fn open(address: &PostgresAddress, schema: &str, points: &Points) -> Result<(Self, Postgres), OpenError> {
        let db = Postgres::open(PostgresOptions {
            address,
            schema,
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
impl SearchStore for PostgresCatalogue {
    async fn backfill_batch(&self, after: i64) -> Result<Option<i64>, StoreError> {
        let write = self.db.write(commits::BACKFILL, move |tx| {
            async move {
                sqlx::query(DISABLE_SORT).execute(&mut *tx).await?;
                let rows: Vec<(i64, String)> = sqlx::query_as(UNMARKED)
                    .bind(after)
                    .bind(BATCH_SIZE)
                    .fetch_all(&mut *tx)
                    .await?;
                let (ids, texts): (Vec<_>, Vec<_>) =
                    rows.into_iter().map(|(id, text)| (id, search_marked(&text))).unzip();
                sqlx::query(SET_MARKED).bind(&ids).bind(texts).execute(tx).await?;
                Ok(ids.last().copied())
            }
            .boxed()
        });
        write.await
    }

    async fn search(&self, search: Search) -> Result<(Vec<Product>, bool), BoundedError> {
        let read = self.searches.run(move |reader| {
            async move {
                let is_backfilled = sqlx::query_scalar(IS_BACKFILLED).fetch_one(&mut *reader).await?;
                Ok((find(reader, &search).await?, is_backfilled))
            }
            .boxed()
        });
        read.await
    }

    fn backfill_lock(&self) -> &Mutex<()> {
        &self.backfill_lock
    }
}

/// Scans the next rows, which fill the page for frequent phrases; uses the index for rare ones.
async fn find(reader: &mut PgConnection, search: &Search) -> Result<Vec<Product>, StoreError> {
    let limit = i64::from(search.limit);
    let scanned = sqlx::query(SEARCH_BY_SCAN)
        .bind(search.after)
        .bind(limit)
        .bind(&search.phrases)
        .bind(SCANNED_ROWS)
        .fetch_all(&mut *reader)
        .await?;
    let is_full = i64::try_from(scanned.len()).is_ok_and(|length| length >= limit);
    if is_full || !has_more_rows(reader, search.after).await? {
        return products(&scanned);
    }
    let indexed = sqlx::query(SEARCH_BY_INDEX)
        .bind(search.after)
        .bind(limit)
        .bind(&search.phrases)
        .bind(trigrams(&search.phrases));
    products(&indexed.fetch_all(reader).await?)
}

/// Whether there are products behind the scanned rows.
async fn has_more_rows(reader: &mut PgConnection, after: i64) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar(HAS_MORE_ROWS).bind(after).bind(SCANNED_ROWS);
    Ok(query.fetch_one(reader).await?)
}

/// The trigrams of all phrases, as the function `trigrams` of the schema computes them.
fn trigrams(phrases: &[String]) -> Vec<String> {
    let of_phrase = |phrase: &String| {
        let letters: Vec<char> = phrase.chars().collect();
        letters
            .windows(3)
            .map(|piece| piece.iter().collect())
            .collect::<Vec<String>>()
    };
    phrases.iter().flat_map(of_phrase).collect()
}

#[async_trait]
impl Catalogue for PostgresCatalogue {
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, BoundedError> {
        let after = after.map_or(0, ProductId::get);
        if query.words().is_empty() {
            let list = self.lists.run(move |reader| {
                async move {
                    let page = sqlx::query(PAGE).bind(after).bind(i64::from(limit));
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
        products(&sqlx::query(FIND).bind(ids).fetch_all(self.db.reader()).await?)
    }

    async fn put(&self, id: Option<ProductId>, details: &Details, now: Timestamp) -> Result<Product, StoreError> {
        let details = details.clone();
        let write = self.db.write(commits::UPSERT, move |tx| {
            async move {
                let stored = match id {
                    Some(id) => write(tx, UPSERT, id.get(), (&details, now)).await?,
                    None => Some(add(tx, (&details, now)).await?),
                };
                stored.ok_or(StoreError::Conflict)
            }
            .boxed()
        });
        write.await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

/// Inserts a product under the next free id.
async fn add(tx: &mut PgConnection, content: (&Details, Timestamp)) -> Result<Product, StoreError> {
    loop {
        let id: i64 = sqlx::query_scalar("SELECT nextval('products_id_seq')")
            .fetch_one(&mut *tx)
            .await?;
        if let Some(added) = write(tx, INSERT, id, content).await? {
            return Ok(added);
        }
        sqlx::query(SKIP_TAKEN_IDS).bind(id).execute(&mut *tx).await?;
    }
}

async fn write(
    tx: &mut PgConnection,
    sql: &'static str,
    id: i64,
    (details, now): (&Details, Timestamp),
) -> Result<Option<Product>, StoreError> {
    let row = sqlx::query(sql)
        .bind(id)
        .bind(details.name())
        .bind(details.description())
        .bind(details.price().minor_units())
        .bind(details.price().currency().as_str())
        .bind(details.image_url())
        .bind(timestamptz(now))
        .bind(details.search_text())
        .bind(search_marked(&details.search_text()))
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(|row| product(Row::Postgres(row))).transpose()
}

fn products(rows: &[PgRow]) -> Result<Vec<Product>, StoreError> {
    rows.iter().map(|row| product(Row::Postgres(row))).collect()
}
