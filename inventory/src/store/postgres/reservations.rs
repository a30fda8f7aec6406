//! The transactions of reservations, mostly one statement each. They execute the decisions of the domain.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{
    FromRow, PgConnection, Postgres,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
};
use storage::{SqlTimestamp, StoreError};
use uuid::Uuid;

use super::now;
use crate::{
    domain::{
        CheckoutId, Lines, Movement, Refusal, Reservation, ReserveDecision, SettleCommand, SettleDecision, State,
        decide_reserve, decide_settle,
    },
    store::row::{self, Shortages},
};

/// What to do when stock is short while reservations are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnShortage {
    /// Change nothing, so that the caller can expire the due reservations first.
    ExpireFirst,
    Refuse,
}

/// The answer of a command, where a refusal is a result, too; `None` if due reservations must be expired first.
type Attempt<T> = Result<Option<Result<T, Refusal>>, StoreError>;

macro_rules! has_due_reservations {
    () => {
        "EXISTS (SELECT FROM reservations WHERE state = 'HELD' AND expires_at <= (SELECT clock_timestamp()))"
    };
}

/// Moves the stock of the lines in `moving`, whose rows of `stock` are locked, and writes the ledger. Nothing else
/// changes `stock` for a checkout, so that the ledger adds up. `$1` is the movement, `$2` and `$3` are its deltas.
macro_rules! move_stock {
    () => {
        concat!(
            "moved AS (
                UPDATE stock SET on_hand = on_hand + $2 * quantity, held = held + $3 * quantity
                FROM (SELECT product_id, sum(quantity)::bigint AS quantity FROM moving GROUP BY product_id) AS sums
                WHERE stock.product_id = sums.product_id
            ), written AS (
                INSERT INTO ledger (kind, product_id, on_hand_delta, held_delta, checkout_id, at)
                SELECT $1, product_id, $2 * quantity, $3 * quantity, checkout_id, ",
            now!(),
            " FROM moving
            )"
        )
    };
}

/// Returns no row if the checkout is known. Refuses without locking when stock is short at the start, so that callers
/// do not queue for a product that is sold out; rechecks under the lock otherwise.
const RESERVE: &str = concat!(
    "WITH known AS (
        SELECT FROM reservations WHERE checkout_id = $4
    ), wanted AS (
        SELECT product_id, quantity FROM unnest($5::bigint[], $6::bigint[]) AS line (product_id, quantity)
        WHERE NOT EXISTS (SELECT FROM known)
    ), seen AS (
        SELECT product_id, quantity, coalesce(on_hand - held, 0) AS available
        FROM wanted LEFT JOIN stock USING (product_id)
    ), locked AS (
        SELECT product_id, quantity, on_hand - held AS available FROM wanted JOIN stock USING (product_id)
        WHERE NOT EXISTS (SELECT FROM seen WHERE quantity > available)
        ORDER BY product_id FOR NO KEY UPDATE OF stock
    ), short AS (
        SELECT * FROM seen WHERE quantity > available UNION ALL SELECT * FROM locked WHERE quantity > available
    ), outcome AS MATERIALIZED (
        SELECT ",
    now!(),
    " AS at, jsonb_agg(jsonb_build_object('product_id', product_id, 'requested', quantity, 'available', available)
                ORDER BY product_id) AS shortages
        FROM short
    ), reserved AS (
        INSERT INTO reservations (checkout_id, state, expires_at, shortages, created_at, updated_at)
        SELECT $4, CASE WHEN shortages IS NULL THEN 'HELD' ELSE 'REFUSED' END,
            CASE WHEN shortages IS NULL THEN at + $7 * interval '1 millisecond' END, shortages, at, at
        FROM outcome
        WHERE NOT EXISTS (SELECT FROM known) AND (shortages IS NULL OR $8 OR NOT ",
    has_due_reservations!(),
    ")
        ON CONFLICT DO NOTHING RETURNING checkout_id, state, expires_at, shortages
    ), lines AS (
        INSERT INTO reservation_lines (checkout_id, product_id, quantity)
        SELECT checkout_id, product_id, quantity FROM reserved CROSS JOIN wanted
    ), moving AS (
        SELECT checkout_id, product_id, quantity FROM reserved CROSS JOIN wanted WHERE state = 'HELD'
    ), ",
    move_stock!(),
    " SELECT expires_at, shortages FROM reserved"
);

/// Returns no row if the reservation is not in the state `$5`.
const TRANSITION: &str = concat!(
    "WITH line AS (
        SELECT product_id FROM reservations JOIN reservation_lines USING (checkout_id)
        WHERE checkout_id = $4 AND state = $5
    ), locked AS (
        SELECT product_id FROM line JOIN stock USING (product_id) ORDER BY product_id FOR NO KEY UPDATE OF stock
    ), settled AS (
        UPDATE reservations SET state = $6, updated_at = ",
    now!(),
    // The count is always true. It makes the update wait for all locks.
    "   WHERE checkout_id = $4 AND state = $5 AND (SELECT count(*) FROM locked) >= 0
        RETURNING checkout_id
    ), moving AS (
        SELECT checkout_id, product_id, quantity FROM settled JOIN reservation_lines USING (checkout_id)
    ), ",
    move_stock!(),
    " SELECT checkout_id FROM settled"
);

const LOCK_STOCK: &str = "
    SELECT product_id FROM reservation_lines JOIN stock USING (product_id)
    WHERE checkout_id = $1 ORDER BY product_id FOR NO KEY UPDATE OF stock";

/// Runs after [`LOCK_STOCK`], so that it sees the latest stock. Returns no row if the reservation is not EXPIRED, or if
/// due reservations must be expired first.
const REACQUIRE: &str = concat!(
    "WITH outcome AS (
        SELECT EXISTS (
            SELECT FROM reservation_lines JOIN stock USING (product_id)
            WHERE checkout_id = $4 AND quantity > on_hand - held
        ) AS is_short
    ), settled AS (
        UPDATE reservations SET state = CASE WHEN is_short THEN 'LOST' ELSE 'CONFIRMED' END, updated_at = ",
    now!(),
    "   FROM outcome
        WHERE checkout_id = $4 AND state = 'EXPIRED' AND (NOT is_short OR $5 OR NOT ",
    has_due_reservations!(),
    ")
        RETURNING checkout_id, state
    ), moving AS (
        SELECT checkout_id, product_id, quantity FROM settled JOIN reservation_lines USING (checkout_id)
        WHERE state = 'CONFIRMED'
    ), ",
    move_stock!(),
    " SELECT state FROM settled"
);

/// Expires those of the given reservations that are still HELD and due. Returns how many.
const EXPIRE: &str = concat!(
    "WITH product AS (
        SELECT DISTINCT product_id FROM reservation_lines WHERE checkout_id = ANY($4)
    ), locked AS (
        SELECT product_id FROM product JOIN stock USING (product_id) ORDER BY product_id FOR NO KEY UPDATE OF stock
    ), settled AS (
        UPDATE reservations SET state = 'EXPIRED', updated_at = ",
    now!(),
    "   WHERE checkout_id = ANY($4) AND state = 'HELD' AND expires_at <= clock_timestamp()
            AND (SELECT count(*) FROM locked) >= 0
        RETURNING checkout_id
    ), moving AS (
        SELECT checkout_id, product_id, quantity FROM settled JOIN reservation_lines USING (checkout_id)
    ), ",
    move_stock!(),
    " SELECT count(*) FROM settled"
);

pub(super) async fn reserve(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    lines: Lines,
    ttl: Duration,
    on_shortage: OnShortage,
) -> Attempt<Timestamp> {
    let (products, quantities): (Vec<_>, Vec<_>) = lines
        .iter()
        .map(|(product, quantity)| (product.get(), quantity.get()))
        .unzip();
    let reserved: Option<(Option<SqlTimestamp>, Shortages)> = moving(RESERVE, Movement::Held)
        .bind(checkout.0)
        .bind(products)
        .bind(quantities)
        .bind(row::ttl(ttl)?)
        .bind(on_shortage == OnShortage::Refuse)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some((expires_at, shortages)) = reserved {
        return Ok(row::first_answer(expires_at.map(SqlTimestamp::to_jiff), shortages));
    }
    let Some(known) = find(tx, checkout).await? else {
        return Ok(None);
    };
    match decide_reserve(Some(known), &lines) {
        ReserveDecision::Replay(answer) => Ok(Some(answer)),
        ReserveDecision::TakeStock => Err(StoreError::Conflict),
    }
}

pub(super) async fn settle(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    command: SettleCommand,
    on_shortage: OnShortage,
) -> Attempt<()> {
    // Nearly all reservations are HELD, so this is tried before the state is read.
    if let SettleDecision::Transition(next, movement) = decide_settle(command, Some(State::Held))
        && transition(tx, checkout, Some(State::Held), (next, movement)).await?
    {
        return Ok(Some(Ok(())));
    }
    // A concurrent change of the state causes another round. The loop ends, since states never return.
    loop {
        let state = find_state(tx, checkout).await?;
        match decide_settle(command, state) {
            SettleDecision::NothingToDo => return Ok(Some(Ok(()))),
            SettleDecision::Refuse(refusal) => return Ok(Some(Err(refusal))),
            SettleDecision::Transition(next, movement) => {
                if transition(tx, checkout, state, (next, movement)).await? {
                    return Ok(Some(Ok(())));
                }
            }
            SettleDecision::Reacquire => match reacquire(tx, checkout, on_shortage).await? {
                Some(true) => return Ok(Some(Ok(()))),
                Some(false) => return Ok(Some(Err(Refusal::Expired))),
                None if on_shortage == OnShortage::ExpireFirst => return Ok(None),
                None => {}
            },
        }
    }
}

/// Expires those of the given reservations that are due by the database's clock. Returns how many.
pub(super) async fn expire(tx: &mut PgConnection, due: Vec<Uuid>) -> Result<u32, StoreError> {
    let (expired,): (i64,) = moving(EXPIRE, Movement::Expired).bind(due).fetch_one(tx).await?;
    u32::try_from(expired).map_err(StoreError::corrupt)
}

/// Changes a reservation's state and moves its stock. False if the reservation is not in the state `from`.
async fn transition(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    from: Option<State>,
    (next, movement): (State, Option<Movement>),
) -> Result<bool, StoreError> {
    let changed = match (from, movement) {
        (None, _) => sqlx::query(concat!(
            "INSERT INTO reservations (checkout_id, state, created_at, updated_at)
             SELECT $1, $2, now.at, now.at FROM (SELECT ",
            now!(),
            " AS at) AS now ON CONFLICT DO NOTHING"
        ))
        .bind(checkout.0)
        .bind(next.name())
        .execute(tx)
        .await?
        .rows_affected(),
        (Some(from), None) => sqlx::query(concat!(
            "UPDATE reservations SET state = $2, updated_at = ",
            now!(),
            " WHERE checkout_id = $1 AND state = $3"
        ))
        .bind(checkout.0)
        .bind(next.name())
        .bind(from.name())
        .execute(tx)
        .await?
        .rows_affected(),
        (Some(from), Some(movement)) => {
            let settled: Vec<(Uuid,)> = moving(TRANSITION, movement)
                .bind(checkout.0)
                .bind(from.name())
                .bind(next.name())
                .fetch_all(tx)
                .await?;
            return Ok(!settled.is_empty());
        }
    };
    Ok(changed == 1)
}

/// Takes the stock of an expired reservation again, all of it (true) or none (false). `None` if nothing was changed:
/// the reservation is no longer EXPIRED, or due reservations must be expired first.
async fn reacquire(
    tx: &mut PgConnection,
    checkout: CheckoutId,
    on_shortage: OnShortage,
) -> Result<Option<bool>, StoreError> {
    sqlx::query(LOCK_STOCK).bind(checkout.0).execute(&mut *tx).await?;
    let settled: Option<(String,)> = moving(REACQUIRE, Movement::SoldAfterExpiry)
        .bind(checkout.0)
        .bind(on_shortage == OnShortage::Refuse)
        .fetch_optional(tx)
        .await?;
    let state = settled.map(|(name,)| row::state(&name)).transpose()?;
    Ok(state.map(|state| state == State::Confirmed))
}

/// A statement with `move_stock!` and the movement bound to it.
fn moving<T>(sql: &'static str, movement: Movement) -> QueryAs<'static, Postgres, T, PgArguments>
where
    T: for<'r> FromRow<'r, PgRow>,
{
    let (on_hand, held) = movement.deltas();
    sqlx::query_as(sql).bind(movement.name()).bind(on_hand).bind(held)
}

async fn find_state(tx: &mut PgConnection, checkout: CheckoutId) -> Result<Option<State>, StoreError> {
    let name: Option<String> = sqlx::query_scalar("SELECT state FROM reservations WHERE checkout_id = $1")
        .bind(checkout.0)
        .fetch_optional(tx)
        .await?;
    name.as_deref().map(row::state).transpose()
}

/// State, expires at, shortages, products and their quantities.
type ReservationRow = (String, Option<SqlTimestamp>, Shortages, Vec<i64>, Vec<i64>);

async fn find(tx: &mut PgConnection, checkout: CheckoutId) -> Result<Option<Reservation>, StoreError> {
    let found: Option<ReservationRow> = sqlx::query_as(
        "SELECT state, expires_at, shortages,
            ARRAY(SELECT product_id FROM reservation_lines WHERE checkout_id = $1 ORDER BY product_id),
            ARRAY(SELECT quantity FROM reservation_lines WHERE checkout_id = $1 ORDER BY product_id)
         FROM reservations WHERE checkout_id = $1",
    )
    .bind(checkout.0)
    .fetch_optional(tx)
    .await?;
    let Some((name, expires_at, shortages, products, quantities)) = found else {
        return Ok(None);
    };
    Ok(Some(Reservation {
        state: row::state(&name)?,
        lines: row::lines(products.into_iter().zip(quantities))?,
        first_answer: row::first_answer(expires_at.map(SqlTimestamp::to_jiff), shortages),
    }))
}
