//! Orders in PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use money::{Currency, Money, Quantity};
use runtime::Points;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use storage::{
    Cursor, Migrations, OpenError, Page, Postgres, PostgresAddress, PostgresOptions, Row, StoreError, timestamptz,
};
use uuid::Uuid;

use super::header::{OrderHeader, product_id};
use crate::{
    commits,
    domain::{CheckoutId, Line, Order, OrderId, UserId},
    ports::{OrderStore, Recorded},
};

const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    events::inbox::postgres::SCHEMA,
    include_str!("../../migrations/postgres/0002_erasure.sql"),
    events::inbox::postgres::BY_AGE,
]);

/// Inserts inbox row, order and lines in one statement, each only if the insert before it took place.
const RECORD: &str = "
    WITH noted AS (
        INSERT INTO inbox (consumer_group, event_id, applied_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1
    ), placed AS (
        INSERT INTO orders (id, checkout_id, user_id, total, currency, status, created_at, updated_at)
        SELECT $4, $5, CASE WHEN EXISTS (SELECT FROM erased_checkouts WHERE checkout_id = $5) THEN $16 ELSE $6 END, $7, $8,
            'CONFIRMED', $9, $10
        FROM noted
        ON CONFLICT DO NOTHING RETURNING id
    ), lines AS (
        INSERT INTO order_lines (order_id, position, product_id, product_name, quantity, price, subtotal)
        SELECT placed.id, line.number - 1, line.product_id, line.product_name, line.quantity, line.price, line.subtotal
        FROM placed, unnest($11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[])
            WITH ORDINALITY AS line (product_id, product_name, quantity, price, subtotal, number)
    )
    SELECT EXISTS (SELECT 1 FROM noted) AS noted, EXISTS (SELECT 1 FROM placed) AS placed";
const REMEMBER_ERASED: &str =
    "INSERT INTO erased_checkouts SELECT id FROM unnest($1::uuid[]) id ORDER BY id ON CONFLICT DO NOTHING";
/// Waits for transactions that record orders: the next statement sees them. Later ones see the erased checkouts.
const LOCK_ORDERS: &str = "LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE";
const ERASE: &str = "
    UPDATE orders SET user_id = $1 || checkout_id::text
    WHERE id IN (SELECT id FROM orders WHERE user_id = $2 LIMIT $3)";
/// Whether the order of another checkout has the id. If so, deletes the inbox row that this transaction inserted: the
/// event was not applied.
const CHECK_ID_TAKEN: &str = "
    WITH taken AS (
        SELECT 1 FROM orders WHERE id = $1 AND checkout_id <> $2
    ), taken_back AS (
        DELETE FROM inbox WHERE consumer_group = $3 AND event_id = $4 AND $5 AND EXISTS (SELECT 1 FROM taken)
    )
    SELECT EXISTS (SELECT 1 FROM taken)";

/// One row per order, with its lines as arrays. The lateral subquery prevents a join that reads all lines.
macro_rules! orders {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.checkout_id, o.user_id, o.total, o.currency, o.created_at, o.updated_at, l.*
             FROM orders o CROSS JOIN LATERAL (
                SELECT array_agg(product_id ORDER BY position) AS product_ids,
                    array_agg(product_name ORDER BY position) AS product_names,
                    array_agg(quantity ORDER BY position) AS quantities,
                    array_agg(price ORDER BY position) AS prices,
                    array_agg(subtotal ORDER BY position) AS subtotals
                FROM order_lines WHERE order_id = o.id
             ) l ",
            $rest
        )
    };
}

const FIND: &str = orders!("WHERE o.id = $1 AND o.user_id = $2");
const PAGE: &str =
    orders!("WHERE o.user_id = $1 AND (o.created_at, o.id) < ($2, $3) ORDER BY o.created_at DESC, o.id DESC LIMIT $4");

/// Orders and their lines in two tables, with the inbox of the consumer group.
#[derive(Debug, Clone)]
pub struct PostgresOrderStore {
    db: Postgres,
}

impl PostgresOrderStore {
    pub async fn open(address: &PostgresAddress, schema: &str, points: &Points) -> Result<Self, OpenError> {
        let options = PostgresOptions {
            address,
            schema,
            migrations: MIGRATIONS,
            points,
        };
        Ok(Self {
            db: Postgres::open(options).await?,
        })
    }

    /// The inbox in the same database.
    pub fn inbox(&self) -> events::PostgresInbox {
        events::PostgresInbox(self.db.clone())
    }
}

#[async_trait]
impl OrderStore for PostgresOrderStore {
    async fn record(&self, order: &Order, event: Uuid, now: Timestamp) -> Result<Recorded, StoreError> {
        let order = order.clone();
        self.db
            .write(commits::RECORD, move |tx| record(tx, order, event, now).boxed())
            .await
    }

    async fn find(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, StoreError> {
        let row = sqlx::query(FIND)
            .bind(id.0)
            .bind(user.as_str())
            .fetch_optional(self.db.reader())
            .await?;
        row.as_ref().map(order).transpose()
    }

    async fn list(&self, user: &UserId, after: Option<Cursor>, size: u32) -> Result<Page<Order>, StoreError> {
        let Cursor { at, id } = after.unwrap_or(Cursor::FIRST_PAGE);
        let rows = sqlx::query(PAGE)
            .bind(user.as_str())
            .bind(timestamptz(at.max(Cursor::EARLIEST)))
            .bind(id)
            .bind(i64::from(size) + 1)
            .fetch_all(self.db.reader())
            .await?;
        let orders = rows.iter().map(order).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(orders, size, |order| Cursor {
            at: order.created_at(),
            id: order.id().0,
        }))
    }

    async fn erase(&self, user: &UserId, checkouts: &[CheckoutId], limit: u32) -> Result<u64, StoreError> {
        let (user, checkouts) = (user.clone(), checkouts.to_vec());
        self.db
            .write(commits::ERASE, move |tx| erase(tx, user, checkouts, limit).boxed())
            .await
    }

    async fn is_up(&self) -> bool {
        self.db.is_up().await
    }

    fn transactions(&self) -> runtime::Tasks {
        self.db.transactions()
    }
}

async fn record(tx: &mut PgConnection, order: Order, event: Uuid, now: Timestamp) -> Result<Recorded, StoreError> {
    let lines = order.lines();
    let column = |value: fn(&Line) -> i64| lines.iter().map(value).collect::<Vec<_>>();
    let names: Vec<_> = lines.iter().map(|line| line.product_name().to_owned()).collect();
    let inserted = sqlx::query(RECORD)
        .bind(proto::events::ORDERS_GROUP)
        .bind(event)
        .bind(timestamptz(now))
        .bind(order.id().0)
        .bind(order.checkout_id().0)
        .bind(order.user_id().as_str())
        .bind(order.total().minor_units())
        .bind(order.total().currency().to_string())
        .bind(timestamptz(order.created_at()))
        .bind(timestamptz(order.updated_at()))
        .bind(column(|line| line.product_id().get()))
        .bind(names)
        .bind(column(|line| line.quantity().get()))
        .bind(column(|line| line.price().minor_units()))
        .bind(column(|line| line.subtotal().minor_units()))
        .bind(UserId::erased(order.checkout_id()).into_string())
        .fetch_one(&mut *tx)
        .await?;
    if inserted.try_get("placed")? {
        return Ok(Recorded::Created);
    }
    // A new statement sees what the insert waited for.
    let taken: bool = sqlx::query_scalar(CHECK_ID_TAKEN)
        .bind(order.id().0)
        .bind(order.checkout_id().0)
        .bind(proto::events::ORDERS_GROUP)
        .bind(event)
        .bind(inserted.try_get::<bool, _>("noted")?)
        .fetch_one(tx)
        .await?;
    Ok(if taken { Recorded::IdTaken } else { Recorded::Duplicate })
}

async fn erase(tx: &mut PgConnection, user: UserId, checkouts: Vec<CheckoutId>, limit: u32) -> Result<u64, StoreError> {
    let ids: Vec<Uuid> = checkouts.into_iter().map(|checkout| checkout.0).collect();
    sqlx::query(REMEMBER_ERASED).bind(ids).execute(&mut *tx).await?;
    sqlx::query(LOCK_ORDERS).execute(&mut *tx).await?;
    let erased = sqlx::query(ERASE)
        .bind(proto::ids::ERASED_USER)
        .bind(user.into_string())
        .bind(i64::from(limit))
        .execute(tx)
        .await?;
    Ok(erased.rows_affected())
}

fn order(row: &PgRow) -> Result<Order, StoreError> {
    let header = OrderHeader::read(Row::Postgres(row))?;
    let lines = lines(row, header.total.currency())?;
    header.with_lines(lines)
}

/// The lines from the arrays. These aggregate the same rows, so their lengths are equal.
fn lines(row: &PgRow, currency: Currency) -> Result<Vec<Line>, StoreError> {
    let numbers = |column| row.try_get::<Vec<i64>, _>(column);
    let (ids, quantities) = (numbers("product_ids")?, numbers("quantities")?);
    let (prices, subtotals) = (numbers("prices")?, numbers("subtotals")?);
    let names: Vec<String> = row.try_get("product_names")?;
    let columns = ids.into_iter().zip(names).zip(quantities).zip(prices).zip(subtotals);
    let lines = columns.map(|((((id, name), quantity), price), subtotal)| {
        let quantity = Quantity::new(quantity).map_err(StoreError::corrupt)?;
        let (price, subtotal) = (Money::new(price, currency), Money::new(subtotal, currency));
        Line::new(product_id(id)?, name, quantity, price, subtotal).map_err(StoreError::corrupt)
    });
    lines.collect()
}
