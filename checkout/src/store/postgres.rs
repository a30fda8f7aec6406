//! The journal in PostgreSQL, with the outbox in the same schema. Any number of processes may use it at once.

mod erasure;

use std::time::Duration;

use async_trait::async_trait;
use events::outbox;
use futures::FutureExt;
use jiff::Timestamp;
use runtime::telemetry::chain;
use sqlx::{
    AssertSqlSafe, PgConnection, Row,
    postgres::{PgRow, types::PgInterval},
};
use storage::{Migrations, Postgres, SqlTimestamp, StoreError, timestamptz};
use uuid::Uuid;

use super::{
    label,
    row::{BEGUN, COLUMNS, Changes, CheckoutRow, LineRow, UNREAD_FOR},
};
use crate::{
    domain::{CartRef, Checkout, CheckoutId, Entry, IdempotencyKey, Request, UserId},
    ports::{Begun, Claimed, Fence, Filter, Journal, Lease, Record},
};

pub const MIGRATIONS: Migrations = Migrations(&[
    include_str!("../../migrations/postgres/0001_init.sql"),
    outbox::postgres::SCHEMA,
    include_str!("../../migrations/postgres/0002_holds.sql"),
    include_str!("../../migrations/postgres/0003_erasure.sql"),
]);

/// Sagas that nobody drives. The time of the statement, unlike that of the clock, is one that an index can be searched for.
macro_rules! due {
    () => {
        "state NOT IN ('COMPLETED', 'FAILED') AND lease_until <= statement_timestamp() AND wake_at <= statement_timestamp()"
    };
}

#[derive(Debug, Clone)]
pub struct PostgresJournal(Postgres);

impl PostgresJournal {
    pub const fn new(db: Postgres) -> Self {
        Self(db)
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn begin(&self, new: &Checkout, request: &Request, lease: &Lease) -> Result<Begun, StoreError> {
        let (new, request, lease) = (new.clone(), request.clone(), lease.clone());
        self.0
            .write("checkout.begin", move |tx| {
                async move {
                    if let Some(begun) = insert(tx, &new, &request, &lease).await? {
                        return Ok(begun);
                    }
                    // The insert has waited for the one that was first. This statement sees it, which that one does not.
                    let known = find(&mut *tx, &request.user, &request.key).await?;
                    Ok(Begun::Exists(Box::new(known.ok_or(StoreError::Conflict)?)))
                }
                .boxed()
            })
            .await
    }

    async fn find(&self, user: &UserId, key: &IdempotencyKey) -> Result<Option<Checkout>, StoreError> {
        find(self.0.reader(), user, key).await
    }

    async fn get(&self, id: CheckoutId, of: Option<&UserId>) -> Result<Option<(Checkout, Vec<Entry>)>, StoreError> {
        // One statement, so that all of it is of one moment.
        let sql = format!(
            "SELECT {COLUMNS}, reached, at, detail FROM checkouts
             JOIN (SELECT checkout_id, version AS nth, state AS reached, at, detail FROM history) entries
                ON checkout_id = id
             WHERE id = $1 AND ($2::text IS NULL OR user_id = $2) ORDER BY nth"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(id.0)
            .bind(of.map(|user| user.0.as_str()))
            .fetch_all(self.0.reader())
            .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        Ok(Some((
            checkout(first)?,
            rows.iter().map(entry).collect::<Result<_, _>>()?,
        )))
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Checkout>, StoreError> {
        // Ids are UUIDv7: in order of time. The conditions are part of the text, so that each gets a plan of its own: some
        // statuses are rare, others are those of nearly all.
        let sql = format!(
            "SELECT {COLUMNS} FROM checkouts WHERE id > $1{status}{attention} ORDER BY id LIMIT $2",
            status = filter
                .status
                .map(|status| format!(" AND status = '{}'", status.name()))
                .unwrap_or_default(),
            attention = if filter.needs_attention {
                " AND needs_attention"
            } else {
                ""
            },
        );
        let limit = usize::try_from(filter.limit).map_err(StoreError::corrupt)?;
        let mut after = filter.after.map_or(Uuid::nil(), |id| id.0);
        let mut found = Vec::new();
        loop {
            let rows = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(after)
                .bind(i64::from(filter.limit))
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
                async move {
                    let version = write_steps(tx, &claimed, &record, &lease).await?;
                    if let Some(event) = &record.event {
                        outbox::postgres::append(tx, proto::events::CHECKOUT_TOPIC, event).await?;
                    }
                    Ok(version)
                }
                .boxed()
            })
            .await
    }

    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        // Mostly there is nothing due: look before a transaction is made of it.
        let is_due: bool = sqlx::query_scalar(concat!("SELECT EXISTS (SELECT 1 FROM checkouts WHERE ", due!(), ")"))
            .fetch_one(self.0.reader())
            .await?;
        if !is_due {
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
                    "UPDATE checkouts SET lease_until = clock_timestamp(), wake_at = clock_timestamp()
                     WHERE owner = $1 AND state NOT IN ('COMPLETED', 'FAILED')",
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
    db: impl sqlx::PgExecutor<'_>,
    user: &UserId,
    key: &IdempotencyKey,
) -> Result<Option<Checkout>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM checkouts WHERE user_id = $1 AND idempotency_key = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(&user.0)
        .bind(key.as_str())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(checkout).transpose()
}

/// Stores a saga with its first entry, unless one without a hold is in its way (see [`UNREAD_FOR`]); `None` when its key is
/// taken. Waits for a transaction that is about to take the key.
async fn insert(
    tx: &mut PgConnection,
    new: &Checkout,
    request: &Request,
    lease: &Lease,
) -> Result<Option<Begun>, StoreError> {
    let row = sqlx::query(
        "WITH unheld AS (
            SELECT id, state = 'COMPLETED' AS has_ended FROM checkouts
            WHERE user_id = $2 AND cart_id IS NULL AND NOT held
                AND state IN ('INITIATED', 'INVENTORY_RESERVED', 'PAYMENT_PENDING', 'PAYMENT_COMPLETED', 'COMPLETED')
                AND (state <> 'COMPLETED' OR (cart_version >= $12 AND updated_at > statement_timestamp() - $19)
                    OR EXISTS (SELECT FROM outbox WHERE key = checkouts.id::text AND published_at IS NULL))
                AND NOT EXISTS (SELECT FROM checkouts WHERE user_id = $2 AND idempotency_key = $3)
            ORDER BY has_ended LIMIT 1),
         begun AS (
            INSERT INTO checkouts (id, user_id, idempotency_key, fingerprint, state, status, lines, total_minor, currency,
                payment_method, cart_id, cart_version, created_at, updated_at, version, owner, fence, hold_fence, lease_until,
                wake_at)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 1, 1,
                clock_timestamp() + $17, clock_timestamp()
            WHERE NOT EXISTS (SELECT FROM unheld)
            ON CONFLICT (user_id, idempotency_key) DO NOTHING
            RETURNING id, version, state, created_at, fence),
         first AS (
            INSERT INTO history (checkout_id, version, state, at, detail)
            SELECT id, version, state, created_at, $18 FROM begun)
         SELECT fence, NULL AS unheld, NULL AS has_ended FROM begun
         UNION ALL SELECT NULL, id, has_ended FROM unheld",
    )
    .bind(new.id.0)
    .bind(&new.user.0)
    .bind(request.key.as_str())
    .bind(&new.fingerprint)
    .bind(new.state.name())
    .bind(new.status().name())
    .bind(LineRow::all_of(&new.purchase.lines))
    .bind(new.purchase.total.minor_units())
    .bind(new.purchase.total.currency().as_str())
    .bind(new.method.as_str())
    .bind(new.purchase.cart.id)
    .bind(new.purchase.cart.version)
    .bind(timestamptz(new.created_at))
    .bind(timestamptz(new.updated_at))
    .bind(new.version)
    .bind(&lease.owner)
    .bind(interval(lease.ttl))
    .bind(BEGUN)
    .bind(interval(UNREAD_FOR))
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let fence: Option<i64> = row.try_get("fence")?;
    Ok(Some(match fence {
        Some(fence) => Begun::Created(Fence(fence)),
        None => Begun::Unheld {
            by: CheckoutId(row.try_get("unheld")?),
            has_ended: row.try_get("has_ended")?,
        },
    }))
}

/// Moves the saga and its history on, and returns its version; `Conflict` when it was not there any more.
async fn write_steps(
    tx: &mut PgConnection,
    claimed: &Claimed,
    record: &Record,
    lease: &Lease,
) -> Result<i64, StoreError> {
    let before = &claimed.checkout;
    let changes = Changes::of(record, before, lease)?;
    let states: Vec<_> = record.steps.iter().map(|(state, ..)| state.name()).collect();
    let times: Vec<_> = record.steps.iter().map(|(_, at, _)| timestamptz(*at)).collect();
    let details: Vec<_> = record.steps.iter().map(|(.., detail)| detail.as_str()).collect();
    let moved: Option<i64> = sqlx::query_scalar(
        "WITH moved AS (
            UPDATE checkouts SET state = $4, status = $5, failure = $6, payment_id = $7, updated_at = $8, version = $9,
                attempts = $10, needs_attention = $11, wake_at = clock_timestamp() + $12,
                lease_until = clock_timestamp() + $13, held = $17
            WHERE id = $1 AND version = $2 AND fence = $3
            RETURNING id, version),
         entries AS (
            INSERT INTO history (checkout_id, version, state, at, detail)
            SELECT id, $2 + nth, reached, at, detail
            FROM moved, UNNEST($14::text[], $15::timestamptz[], $16::text[])
                WITH ORDINALITY AS step (reached, at, detail, nth))
         SELECT version FROM moved",
    )
    .bind(before.id.0)
    .bind(before.version)
    .bind(claimed.fence.0)
    .bind(changes.state)
    .bind(changes.status)
    .bind(changes.failure)
    .bind(changes.payment_id)
    .bind(timestamptz(changes.updated_at))
    .bind(changes.version)
    .bind(i64::from(changes.attempts))
    .bind(changes.needs_attention)
    .bind(interval(changes.wakes_in))
    .bind(interval(changes.is_free_in))
    .bind(states)
    .bind(times)
    .bind(details)
    .bind(changes.held)
    .fetch_optional(tx)
    .await?;
    moved.ok_or(StoreError::Conflict)
}

/// Takes over what is due, the longest ownerless first. What others write or claim at this moment is not waited for.
async fn claim(tx: &mut PgConnection, lease: Lease, limit: u32) -> Result<Vec<Claimed>, StoreError> {
    let sql = format!(
        "WITH due AS MATERIALIZED (
            SELECT id FROM checkouts WHERE {due} ORDER BY lease_until LIMIT $3 FOR UPDATE SKIP LOCKED)
         UPDATE checkouts SET owner = $1, fence = fence + 1, hold_fence = fence + 1, lease_until = clock_timestamp() + $2
         WHERE id IN (SELECT id FROM due)
         RETURNING {COLUMNS}, fence",
        due = due!(),
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(lease.owner)
        .bind(interval(lease.ttl))
        .bind(i64::from(limit))
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

fn checkout(row: &PgRow) -> Result<Checkout, StoreError> {
    let attempts: i64 = row.try_get("attempts")?;
    let read = CheckoutRow {
        id: row.try_get("id")?,
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
            id: row.try_get("cart_id")?,
            version: row.try_get("cart_version")?,
        },
        held: row.try_get("held")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        version: row.try_get("version")?,
        attempts: u32::try_from(attempts).map_err(StoreError::corrupt)?,
        needs_attention: row.try_get("needs_attention")?,
    };
    read.try_into()
}

fn claim_of(row: &PgRow) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        checkout: checkout(row)?,
        fence: Fence(row.try_get("fence")?),
    })
}

fn entry(row: &PgRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        state: row.try_get("reached")?,
        at: time(row, "at")?,
        detail: row.try_get("detail")?,
    })
}

fn time(row: &PgRow, column: &str) -> Result<Timestamp, StoreError> {
    let at: SqlTimestamp = row.try_get(column)?;
    Ok(at.to_jiff())
}

/// At most a century, which is for ever.
fn interval(duration: Duration) -> PgInterval {
    const CENTURY: i64 = 100 * 365 * 24 * 3600 * 1_000_000;
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).map_or(CENTURY, |micros| micros.min(CENTURY)),
    }
}
