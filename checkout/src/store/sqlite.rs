//! The journal in SQLite, with the outbox in the same file.

mod erasure;

use std::time::Duration;

use async_trait::async_trait;
use events::outbox;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::telemetry::chain;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};
use storage::{Migrations, Sqlite, StoreError};
use uuid::fmt::Hyphenated;

use super::{
    label,
    row::{BEGUN, COLUMNS, Changes, CheckoutRow, LineRow, UNREAD_FOR},
};
use crate::{
    domain::{CartRef, Checkout, CheckoutId, Entry, IdempotencyKey, Request, Status, UserId},
    ports::{Begun, Claimed, Fence, Filter, Journal, Lease, Record},
    saga::State,
};

pub const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    outbox::sqlite::SCHEMA,
    include_str!("../../migrations/sqlite/0002_holds.sql"),
    include_str!("../../migrations/sqlite/0003_erasure.sql"),
]);

/// The database's clock, in milliseconds.
macro_rules! now {
    () => {
        "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)"
    };
}

#[derive(Debug, Clone)]
pub struct SqliteJournal(Sqlite);

impl SqliteJournal {
    pub const fn new(db: Sqlite) -> Self {
        Self(db)
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn begin(&self, new: &Checkout, request: &Request, lease: &Lease) -> Result<Begun, StoreError> {
        let (new, request, lease) = (new.clone(), request.clone(), lease.clone());
        self.0
            .write("checkout.begin", move |tx| insert(tx, new, request, lease).boxed())
            .await
    }

    async fn find(&self, user: &UserId, key: &IdempotencyKey) -> Result<Option<Checkout>, StoreError> {
        find(self.0.reader(), user, key).await
    }

    async fn get(&self, id: CheckoutId, of: Option<&UserId>) -> Result<Option<(Checkout, Vec<Entry>)>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM checkouts WHERE id = ?1 AND (?2 IS NULL OR user_id = ?2)");
        // Both reads see the same moment.
        let mut tx = self.0.reader().begin().await?;
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_string())
            .bind(of.map(|user| user.0.as_str()))
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let history = sqlx::query("SELECT state, at, detail FROM history WHERE checkout_id = ? ORDER BY version")
            .bind(id.to_string())
            .fetch_all(&mut *tx)
            .await?;
        Ok(Some((
            checkout(&row)?,
            history.iter().map(entry).collect::<Result<_, _>>()?,
        )))
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Checkout>, StoreError> {
        // Ids are UUIDv7: in order of time.
        let sql = format!(
            "SELECT {COLUMNS} FROM checkouts
             WHERE id > ?1 AND (?2 IS NULL OR status = ?2) AND (NOT ?3 OR needs_attention = 1)
             ORDER BY id LIMIT ?4"
        );
        let limit = usize::try_from(filter.limit).map_err(StoreError::corrupt)?;
        let mut after = filter.after.map(|id| id.to_string()).unwrap_or_default();
        let mut found = Vec::new();
        loop {
            let rows = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(&after)
                .bind(filter.status.map(Status::name))
                .bind(filter.needs_attention)
                .bind(filter.limit)
                .fetch_all(self.0.reader())
                .await?;
            for row in &rows {
                match checkout(row) {
                    Ok(checkout) => found.push(checkout),
                    // The others are listed all the same, and its place is filled from behind it.
                    Err(error) => tracing::error!(error = chain(&error), "a saga in the journal cannot be read"),
                }
            }
            match rows.last() {
                Some(last) if rows.len() == limit && found.len() < limit => after = last.try_get("id")?,
                Some(_) | None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn record(&self, claimed: &Claimed, record: &Record, lease: &Lease) -> Result<i64, StoreError> {
        let (claimed, record, lease) = (claimed.clone(), record.clone(), lease.clone());
        self.0
            .write(label(&record), move |tx| {
                write_record(tx, claimed, record, lease).boxed()
            })
            .await
    }

    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        // Mostly there is nothing due: look before a write is made of it.
        let due: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT 1 FROM checkouts WHERE state NOT IN ('COMPLETED', 'FAILED') AND wake_at <= ",
            now!(),
            " AND lease_until <= ",
            now!(),
            " LIMIT 1"
        ))
        .fetch_optional(self.0.reader())
        .await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        let lease = lease.clone();
        self.0
            .write("checkout.claim", move |tx| claim(tx, lease, limit).boxed())
            .await
    }

    async fn disown(&self, owner: &str) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        let write = self.0.write("checkout.disown", move |tx| {
            async move {
                sqlx::query(
                    "UPDATE checkouts SET lease_until = 0, wake_at = 0
                     WHERE owner = ? AND state NOT IN ('COMPLETED', 'FAILED')",
                )
                .bind(owner)
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        });
        write.await
    }
}

async fn find(
    db: impl sqlx::SqliteExecutor<'_>,
    user: &UserId,
    key: &IdempotencyKey,
) -> Result<Option<Checkout>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM checkouts WHERE user_id = ? AND idempotency_key = ?");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(&user.0)
        .bind(key.as_str())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(checkout).transpose()
}

/// Finds a checkout without a hold by user, version of the cart and age. Its first line is the condition of an index.
const UNHELD: &str = concat!(
    "SELECT id, state = 'COMPLETED' AS has_ended FROM checkouts
     WHERE user_id = ?1 AND cart_id IS NULL AND held = 0
        AND state IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING', 'PAYMENT_COMPLETED', 'COMPLETED')
        AND (state <> 'COMPLETED' OR (cart_version >= ?2 AND updated_at > ",
    now!(),
    " - ?3) OR EXISTS (SELECT 1 FROM outbox WHERE key = checkouts.id AND published_at IS NULL)) ORDER BY has_ended LIMIT 1"
);

/// A checkout without a hold that this one must wait for: see [`UNREAD_FOR`].
async fn unheld(tx: &mut SqliteConnection, new: &Checkout) -> Result<Option<Begun>, StoreError> {
    let row = sqlx::query(UNHELD)
        .bind(&new.user.0)
        .bind(new.purchase.cart.version)
        .bind(millis(UNREAD_FOR))
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let id: Hyphenated = row.try_get("id")?;
    Ok(Some(Begun::Unheld {
        by: CheckoutId(id.into_uuid()),
        has_ended: row.try_get("has_ended")?,
    }))
}

async fn insert(tx: &mut SqliteConnection, new: Checkout, request: Request, lease: Lease) -> Result<Begun, StoreError> {
    if let Some(known) = find(&mut *tx, &request.user, &request.key).await? {
        return Ok(Begun::Exists(Box::new(known)));
    }
    if let Some(unheld) = unheld(&mut *tx, &new).await? {
        return Ok(unheld);
    }
    sqlx::query(concat!(
        "INSERT INTO checkouts (id, user_id, idempotency_key, fingerprint, state, status, lines, total_minor, currency,
            payment_method, cart_id, cart_version, created_at, updated_at, version, owner, fence, lease_until, wake_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ",
        now!(),
        " + ?, 0)"
    ))
    .bind(new.id.to_string())
    .bind(&new.user.0)
    .bind(request.key.as_str())
    .bind(&new.fingerprint)
    .bind(new.state.name())
    .bind(new.status().name())
    .bind(LineRow::all_of(&new.purchase.lines))
    .bind(new.purchase.total.minor_units())
    .bind(new.purchase.total.currency().as_str())
    .bind(new.method.as_str())
    .bind(new.purchase.cart.id.map(|id| id.to_string()))
    .bind(new.purchase.cart.version)
    .bind(new.created_at.as_millisecond())
    .bind(new.updated_at.as_millisecond())
    .bind(new.version)
    .bind(&lease.owner)
    .bind(millis(lease.ttl))
    .execute(&mut *tx)
    .await?;
    insert_entry(tx, new.id, new.version, &new.state, (new.created_at, BEGUN)).await?;
    Ok(Begun::Created(Fence(1)))
}

async fn insert_entry(
    tx: &mut SqliteConnection,
    id: CheckoutId,
    version: i64,
    state: &State,
    (at, detail): (Timestamp, &str),
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO history (checkout_id, version, state, at, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(id.to_string())
        .bind(version)
        .bind(state.name())
        .bind(at.as_millisecond())
        .bind(detail)
        .execute(tx)
        .await?;
    Ok(())
}

async fn write_record(
    tx: &mut SqliteConnection,
    claimed: Claimed,
    record: Record,
    lease: Lease,
) -> Result<i64, StoreError> {
    let before = &claimed.checkout;
    let changes = Changes::of(&record, before, &lease)?;
    let updated = sqlx::query(concat!(
        "UPDATE checkouts SET state = ?, status = ?, failure = ?, payment_id = ?, held = ?, updated_at = ?, version = ?,
            attempts = ?, needs_attention = ?, wake_at = ",
        now!(),
        " + ?, lease_until = ",
        now!(),
        " + ? WHERE id = ? AND version = ? AND fence = ?"
    ))
    .bind(changes.state)
    .bind(changes.status)
    .bind(changes.failure)
    .bind(changes.payment_id)
    .bind(changes.held)
    .bind(changes.updated_at.as_millisecond())
    .bind(changes.version)
    .bind(changes.attempts)
    .bind(changes.needs_attention)
    .bind(millis(changes.wakes_in))
    .bind(millis(changes.is_free_in))
    .bind(before.id.to_string())
    .bind(before.version)
    .bind(claimed.fence.0)
    .execute(&mut *tx)
    .await?;
    if updated.rows_affected() == 0 {
        return Err(StoreError::Conflict);
    }
    for (version, (state, at, detail)) in (before.version + 1..).zip(&record.steps) {
        insert_entry(tx, before.id, version, state, (*at, detail)).await?;
    }
    if let Some(event) = &record.event {
        outbox::sqlite::append(tx, proto::events::CHECKOUT_TOPIC, event).await?;
    }
    Ok(changes.version)
}

async fn claim(tx: &mut SqliteConnection, lease: Lease, limit: u32) -> Result<Vec<Claimed>, StoreError> {
    let sql = format!(
        "UPDATE checkouts SET owner = ?, fence = fence + 1, lease_until = {now} + ?
         WHERE id IN (SELECT id FROM checkouts WHERE state NOT IN ('COMPLETED', 'FAILED')
            AND wake_at <= {now} AND lease_until <= {now} ORDER BY wake_at LIMIT ?)
         RETURNING {COLUMNS}, fence",
        now = now!(),
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(lease.owner)
        .bind(millis(lease.ttl))
        .bind(limit)
        .fetch_all(tx)
        .await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        match claim_of(row) {
            Ok(claim) => claimed.push(claim),
            // It comes up again when its lease runs out; meanwhile the others go on.
            Err(error) => tracing::error!(error = chain(&error), "a saga in the journal cannot be read"),
        }
    }
    Ok(claimed)
}

fn checkout(row: &SqliteRow) -> Result<Checkout, StoreError> {
    let id: Hyphenated = row.try_get("id")?;
    let cart_id: Option<Hyphenated> = row.try_get("cart_id")?;
    let read = CheckoutRow {
        id: id.into_uuid(),
        user_id: row.try_get("user_id")?,
        fingerprint: row.try_get("fingerprint")?,
        state: row.try_get("state")?,
        failure: row.try_get("failure")?,
        lines: row.try_get("lines")?,
        total_minor: row.try_get("total_minor")?,
        currency: row.try_get("currency")?,
        payment_method: row.try_get("payment_method")?,
        payment_id: row.try_get("payment_id")?,
        cart: CartRef {
            id: cart_id.map(Hyphenated::into_uuid),
            version: row.try_get("cart_version")?,
        },
        held: row.try_get("held")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        version: row.try_get("version")?,
        attempts: row.try_get("attempts")?,
        needs_attention: row.try_get("needs_attention")?,
    };
    read.try_into()
}

fn claim_of(row: &SqliteRow) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        checkout: checkout(row)?,
        fence: Fence(row.try_get("fence")?),
    })
}

fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        state: row.try_get("state")?,
        at: time(row, "at")?,
        detail: row.try_get("detail")?,
    })
}

fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(row.try_get(column)?).map_err(StoreError::corrupt)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    #[tokio::test]
    async fn those_without_a_hold_are_found_by_their_index() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for migration in MIGRATIONS.0 {
            sqlx::raw_sql(*migration).execute(&mut db).await.unwrap();
        }
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {UNHELD}")));
        let steps: Vec<String> = plan
            .fetch_all(&mut db)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get("detail"))
            .collect();
        let by_index = "SEARCH checkouts USING INDEX checkouts_unheld (user_id=?)";
        assert!(steps.iter().any(|step| step == by_index), "{steps:?}");
    }
}
