//! The catalogue in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::CrashPoints;
use sqlx::PgConnection;
use storage::{
    Migrations, OpenError, Postgres, PostgresAddress, PostgresOptions, SqlTimestamp, StoreError, timestamptz,
};

use super::row::{ProductRow, columns, product};
use crate::{
    domain::{Details, Product, ProductId, Query},
    ports::Catalogue,
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    include_str!("../../migrations/postgres/0002_starting_products.sql"),
]);

type Row = ProductRow<SqlTimestamp>;

/// Writes a product, and answers with what is stored then.
macro_rules! insert {
    ($on_conflict:literal) => {
        concat!(
            "INSERT INTO products (",
            columns!(),
            ", search_text) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO ",
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
        search_text = excluded.search_text"
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
/// The index finds the rows that have all pieces of the text, position those that have them in one piece. Unlike LIKE it
/// has no wildcards.
const SEARCH: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM products WHERE id > $1 AND trigrams(search_text) @> trigrams($3) AND position($3 IN search_text) > 0
     ORDER BY id LIMIT $2"
);
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
        Ok((Self { db: db.clone() }, db))
    }
}

#[async_trait]
impl Catalogue for PostgresCatalogue {
    async fn page(&self, query: &Query, after: Option<ProductId>, limit: u32) -> Result<Vec<Product>, StoreError> {
        let all = query.as_str().is_empty();
        let page = sqlx::query_as(if all { PAGE } else { SEARCH })
            // How many products have the text decides how they are best found: each search has a plan of its own.
            .persistent(all)
            .bind(after.map_or(0, ProductId::get))
            .bind(i64::from(limit));
        let page = if all { page } else { page.bind(query.as_str()) };
        let rows: Vec<Row> = page.fetch_all(self.db.reader()).await?;
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
        .fetch_optional(tx)
        .await?;
    Ok(row)
}

fn from_row(row: Row) -> Result<Product, StoreError> {
    product(row, |time| Ok(time.to_jiff()))
}
