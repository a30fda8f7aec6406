//! The catalogue in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::CrashPoints;
use sqlx::PgConnection;
use storage::{
    Migrations, OpenError, Postgres, PostgresAddress, PostgresOptions, SqlTimestamp, StoreError, timestamptz,
};

use super::{
    folding::{AT_ONCE, Folding, Found, fold_at_start, found},
    row::{ProductRow, columns, product},
};
use crate::{
    domain::{Details, Product, ProductId, Query, folded},
    ports::Catalogue,
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    include_str!("../../migrations/postgres/0002_starting_products.sql"),
    include_str!("../../migrations/postgres/0003_search_folded.sql"),
]);

type Row = ProductRow<SqlTimestamp>;

/// Writes a product, and answers with what is stored then.
macro_rules! insert {
    ($on_conflict:literal) => {
        concat!(
            "INSERT INTO products (",
            columns!(),
            ", search_text, search_folded) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO ",
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
        search_text = excluded.search_text, search_folded = excluded.search_folded"
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
/// The index finds the rows that have all pieces of all words, position those that have each word in one piece. Unlike LIKE
/// it has no wildcards. One row more says that some rows are not folded yet, if that is so.
const SEARCH: &str = concat!(
    "(SELECT ",
    columns!(),
    ", false FROM products WHERE id > $1 AND trigrams(search_folded) @> $3
        AND NOT EXISTS (SELECT FROM unnest($4) AS word WHERE position(word IN search_folded) = 0)
      ORDER BY id LIMIT $2)
     UNION ALL (SELECT ",
    columns!(),
    ", true FROM products WHERE search_folded IS NULL LIMIT 1)"
);
/// Locked in order, so that two processes that fold at the same time do not wait for one another.
const UNFOLDED: &str =
    "SELECT id, search_text FROM products WHERE search_folded IS NULL ORDER BY id LIMIT $1 FOR UPDATE";
const FOLD: &str = "UPDATE products SET search_folded = folded.text
    FROM unnest($1::bigint[], $2::text[]) AS folded (id, text) WHERE products.id = folded.id";
const FIND: &str = concat!("SELECT ", columns!(), " FROM products WHERE id = ANY($1) ORDER BY id");

/// Products in one table; the text that queries look through is stored beside what it is made from.
#[derive(Debug, Clone)]
pub struct PostgresCatalogue {
    db: Postgres,
}

impl PostgresCatalogue {
    /// Opens the schema, and writes the starting products when it makes it.
    pub async fn open(
        address: &PostgresAddress,
        schema: &str,
        crash: &CrashPoints,
    ) -> Result<(Self, Postgres), OpenError> {
        let db = Postgres::open(PostgresOptions {
            address,
            schema,
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
impl Folding<SqlTimestamp> for PostgresCatalogue {
    async fn fold_some(&self) -> Result<bool, StoreError> {
        let write = self.db.write("product.fold", |tx| {
            async move {
                let rows: Vec<(i64, String)> = sqlx::query_as(UNFOLDED).bind(AT_ONCE).fetch_all(&mut *tx).await?;
                let (ids, texts): (Vec<_>, Vec<_>) = rows.into_iter().map(|(id, text)| (id, folded(&text))).unzip();
                sqlx::query(FOLD).bind(&ids).bind(texts).execute(tx).await?;
                Ok(!ids.is_empty())
            }
            .boxed()
        });
        write.await
    }

    async fn search(&self, query: &Query, after: i64, limit: u32) -> Result<Vec<Found<SqlTimestamp>>, StoreError> {
        let search = sqlx::query_as(SEARCH)
            // How many products have the words decides how they are best found: each search has a plan of its own.
            .persistent(false)
            .bind(after)
            .bind(i64::from(limit))
            .bind(trigrams(query.words()))
            .bind(query.words());
        Ok(search.fetch_all(self.db.reader()).await?)
    }
}

/// All pieces of three characters of these words, as the function of that name in the schema gives them.
fn trigrams(words: &[String]) -> Vec<String> {
    let of_word = |word: &String| {
        let letters: Vec<char> = word.chars().collect();
        letters
            .windows(3)
            .map(|piece| piece.iter().collect())
            .collect::<Vec<String>>()
    };
    words.iter().flat_map(of_word).collect()
}

#[async_trait]
impl Catalogue for PostgresCatalogue {
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, StoreError> {
        let after = after.map_or(0, ProductId::get);
        let rows: Vec<Row> = if query.words().is_empty() {
            let page = sqlx::query_as(PAGE).bind(after).bind(i64::from(limit));
            page.fetch_all(self.db.reader()).await?
        } else {
            found(self, query, after, limit).await?
        };
        rows.into_iter().map(from_row).collect()
    }

    async fn find(&self, ids: &[ProductId]) -> Result<Vec<Product>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
        let rows: Vec<Row> = sqlx::query_as(FIND).bind(ids).fetch_all(self.db.reader()).await?;
        rows.into_iter().map(from_row).collect()
    }

    async fn put(&self, id: Option<ProductId>, details: &Details, now: Timestamp) -> Result<Product, StoreError> {
        let details = details.clone();
        let write = self.db.write("product.upsert", move |tx| {
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
        .bind(folded(&details.search_text()))
        .fetch_optional(tx)
        .await?;
    Ok(row)
}

fn from_row(row: Row) -> Result<Product, StoreError> {
    product(row, |time| Ok(time.to_jiff()))
}
