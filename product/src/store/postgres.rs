//! The catalogue in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt, lock::Mutex};
use jiff::Timestamp;
use runtime::Points;
use sqlx::PgConnection;
use storage::{
    BoundedError, Migrations, OpenError, Postgres, PostgresAddress, PostgresBounded, PostgresOptions, SqlTimestamp,
    StoreError, timestamptz,
};

use super::{
    LISTS, SEARCHES,
    marking::{AT_ONCE, Marking, Search, found, mark_at_start, to_marked},
    row::{ProductRow, columns, product},
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

type Row = ProductRow<SqlTimestamp>;

/// Writes a product, and answers with what is stored then.
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

const ADD: &str = insert!("NOTHING");
const REPLACE: &str = insert!(
    "UPDATE SET name = excluded.name, description = excluded.description,
        price_minor_units = excluded.price_minor_units, currency = excluded.currency, image_url = excluded.image_url,
        search_text = excluded.search_text, search_marked = excluded.search_marked"
);
/// Leaves the run of taken ids behind that begins with `$1`.
const SKIP: &str = "
    SELECT setval('products_id_seq', greatest(id, (SELECT last_value FROM products_id_seq))) FROM products AS taken
    WHERE id >= $1 AND NOT EXISTS (SELECT FROM products WHERE id = taken.id + 1) ORDER BY id LIMIT 1";

const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM products WHERE id > $1 ORDER BY id LIMIT $2"
);
/// Whether a product has all phrases; one that is not marked yet has none. Unlike LIKE, position has no wildcards.
macro_rules! has_all {
    ($phrases:literal) => {
        concat!(
            "NOT EXISTS (SELECT FROM unnest(",
            $phrases,
            "::text[]) AS phrase WHERE position(phrase IN coalesce(search_marked, '')) = 0)"
        )
    };
}

/// So many products are looked at one by one, for phrases that many have. It is enough for a page where one in twenty-five
/// has them; where fewer do, the index has few candidates.
const NEAR: i64 = 500;
const SEARCH_NEAR: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM (SELECT ",
    columns!(),
    ", search_marked FROM products WHERE id > $1 ORDER BY id LIMIT $4) AS near WHERE ",
    has_all!("$3"),
    " ORDER BY id LIMIT $2"
);
const IS_MORE_BEHIND: &str = "SELECT EXISTS (SELECT FROM products WHERE id > $1 ORDER BY id OFFSET $2)";
/// The index finds the rows that have all pieces of all phrases. The sum keeps the server from reading them in the order of
/// their ids instead, and from taking every one of them to pieces.
const SEARCH_FAR: &str = concat!(
    "WITH found AS MATERIALIZED
       (SELECT id FROM products WHERE trigrams(search_marked) @> $4 AND id + 0 > $1 AND ",
    has_all!("$3"),
    ") SELECT ",
    columns!(),
    " FROM products WHERE id = ANY (ARRAY (SELECT id FROM found ORDER BY id LIMIT $2)) ORDER BY id"
);
const ARE_ALL_MARKED: &str = "SELECT NOT EXISTS (SELECT FROM products WHERE search_marked IS NULL)";
/// Locked in order, so that two processes that mark at the same time do not wait for one another.
const UNMARKED: &str =
    "SELECT id, search_text FROM products WHERE search_marked IS NULL AND id > $1 ORDER BY id LIMIT $2 FOR UPDATE";
/// The server does not know yet how many rows have no marks, and would sort all of them each time.
const IN_ORDER: &str = "SET LOCAL enable_sort = off";
const MARK: &str = "UPDATE products SET search_marked = marked.text
    FROM unnest($1::bigint[], $2::text[]) AS marked (id, text) WHERE products.id = marked.id";
const FIND: &str = concat!("SELECT ", columns!(), " FROM products WHERE id = ANY($1) ORDER BY id");

/// Products in one table; the text that queries look through is stored beside what it is made from.
#[derive(Debug, Clone)]
pub struct PostgresCatalogue {
    db: Postgres,
    searches: PostgresBounded,
    lists: PostgresBounded,
    marking: Arc<Mutex<()>>,
}

impl PostgresCatalogue {
    /// Opens the schema, and writes the starting products when it makes it.
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
            marking: Arc::default(),
        };
        mark_at_start(&catalogue).await;
        Ok((catalogue, db))
    }
}

#[async_trait]
impl Marking<SqlTimestamp> for PostgresCatalogue {
    async fn mark_some(&self, after: i64) -> Result<Option<i64>, StoreError> {
        let write = self.db.write(commits::FOLD, move |tx| {
            async move {
                sqlx::query(IN_ORDER).execute(&mut *tx).await?;
                let rows: Vec<(i64, String)> = sqlx::query_as(UNMARKED)
                    .bind(after)
                    .bind(AT_ONCE)
                    .fetch_all(&mut *tx)
                    .await?;
                let (ids, texts): (Vec<_>, Vec<_>) = rows.into_iter().map(|(id, text)| (id, to_marked(&text))).unzip();
                sqlx::query(MARK).bind(&ids).bind(texts).execute(tx).await?;
                Ok(ids.last().copied())
            }
            .boxed()
        });
        write.await
    }

    async fn search(&self, search: Search) -> Result<(Vec<Row>, bool), BoundedError> {
        let read = self.searches.run(move |reader| {
            async move {
                let are_all_marked = sqlx::query_scalar(ARE_ALL_MARKED).fetch_one(&mut *reader).await?;
                Ok((find(reader, &search).await?, are_all_marked))
            }
            .boxed()
        });
        read.await
    }

    fn marking(&self) -> &Mutex<()> {
        &self.marking
    }
}

/// What many products have fills a page with the next ones; what few have, the index finds.
async fn find(reader: &mut PgConnection, search: &Search) -> Result<Vec<Row>, StoreError> {
    let limit = i64::from(search.limit);
    let near: Vec<Row> = sqlx::query_as(SEARCH_NEAR)
        .bind(search.after)
        .bind(limit)
        .bind(&search.phrases)
        .bind(NEAR)
        .fetch_all(&mut *reader)
        .await?;
    let is_full = i64::try_from(near.len()).is_ok_and(|length| length >= limit);
    let is_whole = is_full || !is_more_behind(reader, search.after).await?;
    if is_whole {
        return Ok(near);
    }
    let far = sqlx::query_as(SEARCH_FAR)
        .bind(search.after)
        .bind(limit)
        .bind(&search.phrases)
        .bind(trigrams(&search.phrases));
    Ok(far.fetch_all(reader).await?)
}

/// Whether there are products that were not near.
async fn is_more_behind(reader: &mut PgConnection, after: i64) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar(IS_MORE_BEHIND).bind(after).bind(NEAR);
    Ok(query.fetch_one(reader).await?)
}

/// All pieces of three characters of these phrases, as the function of that name in the schema gives them.
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
        let rows: Vec<Row> = if query.words().is_empty() {
            let list = self.lists.run(move |reader| {
                async move {
                    let page = sqlx::query_as(PAGE).bind(after).bind(i64::from(limit));
                    Ok(page.fetch_all(reader).await?)
                }
                .boxed()
            });
            list.await?
        } else {
            found(self, (query, after, limit)).await?
        };
        Ok(rows.into_iter().map(from_row).collect::<Result<_, _>>()?)
    }

    async fn find(&self, ids: &[ProductId]) -> Result<Vec<Product>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
        let rows: Vec<Row> = sqlx::query_as(FIND).bind(ids).fetch_all(self.db.reader()).await?;
        rows.into_iter().map(from_row).collect()
    }

    async fn put(&self, id: Option<ProductId>, details: &Details, now: Timestamp) -> Result<Product, StoreError> {
        let details = details.clone();
        let write = self.db.write(commits::UPSERT, move |tx| {
            async move {
                let row = match id {
                    Some(id) => write(tx, REPLACE, id.get(), (&details, now)).await?,
                    None => Some(add(tx, (&details, now)).await?),
                };
                row.map_or(Err(StoreError::Conflict), from_row)
            }
            .boxed()
        });
        write.await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

/// Stores a new product under the next id that nobody has chosen.
async fn add(tx: &mut PgConnection, content: (&Details, Timestamp)) -> Result<Row, StoreError> {
    loop {
        let id: i64 = sqlx::query_scalar("SELECT nextval('products_id_seq')")
            .fetch_one(&mut *tx)
            .await?;
        if let Some(row) = write(tx, ADD, id, content).await? {
            return Ok(row);
        }
        sqlx::query(SKIP).bind(id).execute(&mut *tx).await?;
    }
}

async fn write(
    tx: &mut PgConnection,
    sql: &'static str,
    id: i64,
    (details, now): (&Details, Timestamp),
) -> Result<Option<Row>, StoreError> {
    let row = sqlx::query_as(sql)
        .bind(id)
        .bind(details.name())
        .bind(details.description())
        .bind(details.price().minor_units())
        .bind(details.price().currency().as_str())
        .bind(details.image_url())
        .bind(timestamptz(now))
        .bind(details.search_text())
        .bind(to_marked(&details.search_text()))
        .fetch_optional(tx)
        .await?;
    Ok(row)
}

fn from_row(row: Row) -> Result<Product, StoreError> {
    product(row, |time| Ok(time.to_jiff()))
}
