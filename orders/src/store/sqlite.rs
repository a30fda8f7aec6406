//! Orders in SQLite.

use std::{collections::HashMap, path::Path};

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use money::{Currency, Money, Quantity};
use runtime::Points;
use sqlx::{QueryBuilder, SqliteConnection};
use storage::{Cursor, Migrations, OpenError, Page, Row, Sqlite, SqliteOptions, StoreError};
use uuid::Uuid;

use super::header::{OrderHeader, product_id};
use crate::{
    commits,
    domain::{CheckoutId, Line, Order, OrderId, UserId},
    ports::{OrderStore, Recorded},
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    events::inbox::sqlite::SCHEMA,
    include_str!("../../migrations/sqlite/0002_erasure.sql"),
    events::inbox::sqlite::BY_AGE,
]);
/// The most lines that one statement inserts: SQLite limits the number of parameters.
const LINES_PER_STATEMENT: usize = 500;

macro_rules! headers {
    ($rest:literal) => {
        concat!(
            "SELECT id, checkout_id, user_id, total, currency, created_at, updated_at FROM orders ",
            $rest
        )
    };
}

const FIND: &str = headers!("WHERE id = ? AND user_id = ?");
const PAGE: &str =
    headers!("WHERE user_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?");

const ERASE: &str = "UPDATE orders SET user_id = ? || checkout_id
    WHERE rowid IN (SELECT rowid FROM orders WHERE user_id = ? LIMIT ?)";

/// Orders and their lines in two tables, with the inbox of the consumer group.
#[derive(Debug, Clone)]
pub struct SqliteOrderStore {
    db: Sqlite,
}

impl SqliteOrderStore {
    pub async fn open(path: &Path, points: &Points) -> Result<Self, OpenError> {
        let db = Sqlite::open(SqliteOptions {
            path,
            migrations: MIGRATIONS,
            points,
        })
        .await?;
        Ok(Self { db })
    }

    /// The inbox in the same database.
    pub fn inbox(&self) -> events::SqliteInbox {
        events::SqliteInbox(self.db.clone())
    }

    /// Reads the lines of all orders in one query. A separate read is consistent: lines never change.
    async fn with_lines(&self, headers: Vec<OrderHeader>) -> Result<Vec<Order>, StoreError> {
        let ids: Vec<Uuid> = headers.iter().map(|header| header.ids.id.0).collect();
        let rows = sqlx::query(
            "SELECT order_id, product_id, product_name, quantity, price, subtotal FROM order_lines
             WHERE order_id IN (SELECT value FROM json_each(?)) ORDER BY order_id, position",
        )
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(self.db.reader())
        .await?;
        let mut lines_of: HashMap<Uuid, Vec<Row<'_>>> = HashMap::new();
        for row in rows.iter().map(Row::Sqlite) {
            lines_of.entry(row.uuid("order_id")?).or_default().push(row);
        }
        let orders = headers.into_iter().map(|header| {
            let lines = lines_of.remove(&header.ids.id.0).unwrap_or_default();
            let lines = lines.into_iter().map(|row| line(row, header.total.currency()));
            let lines = lines.collect::<Result<_, StoreError>>()?;
            header.with_lines(lines)
        });
        orders.collect()
    }
}

#[async_trait]
impl OrderStore for SqliteOrderStore {
    async fn record(&self, order: &Order, event: Uuid, now: Timestamp) -> Result<Recorded, StoreError> {
        let order = order.clone();
        self.db
            .write(commits::RECORD, move |tx| record(tx, order, event, now).boxed())
            .await
    }

    async fn find(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, StoreError> {
        let row = sqlx::query(FIND)
            .bind(id.0.to_string())
            .bind(user.as_str())
            .fetch_optional(self.db.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(self
            .with_lines(vec![OrderHeader::read(Row::Sqlite(&row))?])
            .await?
            .pop())
    }

    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Order>, StoreError> {
        // UUIDs as lower-case text sort like the ids.
        let (at, id) = after.map_or((i64::MAX, String::new()), |c| (c.at.as_millisecond(), c.id.to_string()));
        let rows = sqlx::query(PAGE)
            .bind(user.as_str())
            .bind(at)
            .bind(id)
            .bind(i64::from(size) + 1)
            .fetch_all(self.db.reader())
            .await?;
        let headers = rows.iter().map(|row| OrderHeader::read(Row::Sqlite(row)));
        let page = Page::cut(headers.collect::<Result<_, _>>()?, size, |header| Cursor {
            at: header.created_at,
            id: header.ids.id.0,
        });
        Ok(Page {
            items: self.with_lines(page.items).await?,
            next: page.next,
        })
    }

    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError> {
        let (user, checkouts) = (user.clone(), checkouts.to_vec());
        let write = self
            .db
            .write(commits::ERASE, move |tx| erase(tx, user, checkouts, limit).boxed());
        let erased = write.await?;
        self.db.scrub().await?;
        Ok(erased)
    }

    async fn is_up(&self) -> bool {
        self.db.is_up().await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

async fn record(tx: &mut SqliteConnection, order: Order, event: Uuid, now: Timestamp) -> Result<Recorded, StoreError> {
    let (id, checkout) = (order.id().0.to_string(), order.checkout_id().0.to_string());
    // Checked first: an event that is not applied must not get an inbox row.
    let taken: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM orders WHERE id = ? AND checkout_id <> ?)")
        .bind(&id)
        .bind(&checkout)
        .fetch_one(&mut *tx)
        .await?;
    if taken {
        return Ok(Recorded::IdTaken);
    }
    if !events::inbox::sqlite::first_time(tx, proto::events::ORDERS_GROUP, event, now).await? {
        return Ok(Recorded::Duplicate);
    }
    let inserted = sqlx::query(
        "INSERT INTO orders (id, checkout_id, user_id, total, currency, status, created_at, updated_at)
         SELECT ?1, ?2, iif(EXISTS (SELECT 1 FROM erased_checkouts WHERE checkout_id = ?2), ?3, ?4), ?5, ?6, 'CONFIRMED', ?7, ?8
         WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(&id)
    .bind(checkout)
    .bind(UserId::erased(order.checkout_id()).into_string())
    .bind(order.user_id().as_str())
    .bind(order.total().minor_units())
    .bind(order.total().currency().as_str())
    .bind(order.created_at().as_millisecond())
    .bind(order.updated_at().as_millisecond())
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(Recorded::Duplicate);
    }
    insert_lines(tx, &id, order.lines()).await?;
    Ok(Recorded::Created)
}

async fn erase(
    tx: &mut SqliteConnection,
    user: UserId,
    checkouts: Vec<CheckoutId>,
    limit: u32,
) -> Result<u64, StoreError> {
    let ids: Vec<_> = checkouts.into_iter().map(|checkout| checkout.0).collect();
    sqlx::query("INSERT INTO erased_checkouts SELECT value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING")
        .bind(serde_json::json!(ids).to_string())
        .execute(&mut *tx)
        .await?;
    let erased = sqlx::query(ERASE)
        .bind(proto::ids::ERASED_USER)
        .bind(user.into_string())
        .bind(limit)
        .execute(tx)
        .await?;
    Ok(erased.rows_affected())
}

async fn insert_lines(tx: &mut SqliteConnection, order_id: &str, lines: &[Line]) -> Result<(), StoreError> {
    let numbered: Vec<(i64, &Line)> = (0..).zip(lines).collect();
    for lines in numbered.chunks(LINES_PER_STATEMENT) {
        let mut sql = QueryBuilder::new(
            "INSERT INTO order_lines (order_id, position, product_id, product_name, quantity, price, subtotal) ",
        );
        sql.push_values(lines, |mut values, (position, line)| {
            values
                .push_bind(order_id.to_owned())
                .push_bind(*position)
                .push_bind(line.product_id().get())
                .push_bind(line.product_name().to_owned())
                .push_bind(line.quantity().get())
                .push_bind(line.price().minor_units())
                .push_bind(line.subtotal().minor_units());
        });
        sql.build().execute(&mut *tx).await?;
    }
    Ok(())
}

fn line(row: Row<'_>, currency: Currency) -> Result<Line, StoreError> {
    Line::new(
        product_id(row.integer("product_id")?)?,
        row.text("product_name")?,
        Quantity::new(row.integer("quantity")?).map_err(StoreError::corrupt)?,
        Money::new(row.integer("price")?, currency),
        Money::new(row.integer("subtotal")?, currency),
    )
    .map_err(StoreError::corrupt)
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    #[tokio::test]
    async fn a_page_and_an_erasure_use_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteOrderStore::open(&folder.path().join("orders.db"), &Points::none())
            .await
            .unwrap();
        let explain = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {PAGE}")))
            .bind("u")
            .bind(i64::MAX)
            .bind("")
            .bind(21);
        let plan = explain.fetch_all(store.db.reader()).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let index = "SEARCH orders USING INDEX orders_of_user (user_id=? AND (created_at,id)<(?,?))";
        assert_eq!(plan, [index], "no scan and no sort");
        let explain = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {ERASE}")));
        let explain = explain.bind(proto::ids::ERASED_USER).bind("u").bind(1);
        let plan = explain.fetch_all(store.db.reader()).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert!(!plan.iter().any(|step| step.starts_with("SCAN orders")), "{plan:?}");
    }
}
