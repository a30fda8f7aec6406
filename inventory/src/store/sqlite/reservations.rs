//! The transactions of reservations. They execute the decisions of the domain.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;
use storage::StoreError;

use super::now;
use crate::{
    domain::{
        CheckoutId, Lines, Movement, Refusal, Reservation, ReserveDecision, SettleCommand, SettleDecision, Shortage,
        State, decide_reserve, decide_settle,
    },
    store::row::{self, Shortages},
};

/// The answer of a command: a refusal is a result, too.
type Outcome<T> = Result<Result<T, Refusal>, StoreError>;

pub(super) async fn reserve(
    tx: &mut SqliteConnection,
    checkout: CheckoutId,
    lines: Lines,
    ttl: Duration,
) -> Outcome<Timestamp> {
    let reservation = find(tx, checkout).await?;
    match decide_reserve(reservation, &lines) {
        ReserveDecision::Replay(answer) => Ok(answer),
        ReserveDecision::TakeStock => take_stock(tx, checkout, &lines, ttl).await,
    }
}

pub(super) async fn settle(tx: &mut SqliteConnection, checkout: CheckoutId, command: SettleCommand) -> Outcome<()> {
    let name: Option<String> = sqlx::query_scalar("SELECT state FROM reservations WHERE checkout_id = ?")
        .bind(checkout.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    let state = name.as_deref().map(row::state).transpose()?;
    match decide_settle(command, state) {
        SettleDecision::NothingToDo => Ok(Ok(())),
        SettleDecision::Refuse(refusal) => Ok(Err(refusal)),
        SettleDecision::Transition(next, movement) => {
            set_state(tx, checkout, next).await?;
            if let Some(movement) = movement {
                move_stock(tx, &[checkout.to_string()], movement).await?;
            }
            Ok(Ok(()))
        }
        SettleDecision::Reacquire => {
            let lines = lines_of(tx, checkout).await?;
            if shortages_after_expiry(tx, &lines).await?.is_empty() {
                set_state(tx, checkout, State::Confirmed).await?;
                move_stock(tx, &[checkout.to_string()], Movement::SoldAfterExpiry).await?;
                Ok(Ok(()))
            } else {
                set_state(tx, checkout, State::Lost).await?;
                Ok(Err(Refusal::Expired))
            }
        }
    }
}

/// Expires due reservations by the database's clock.
pub(super) async fn expire(tx: &mut SqliteConnection, limit: u32) -> Result<u32, StoreError> {
    let expired: Vec<String> = sqlx::query_scalar(concat!(
        "UPDATE reservations SET state = 'EXPIRED', updated_at = ",
        now!(),
        " WHERE checkout_id IN (SELECT checkout_id FROM reservations WHERE state = 'HELD' AND expires_at <= ",
        now!(),
        " ORDER BY expires_at LIMIT ?) RETURNING checkout_id"
    ))
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    if !expired.is_empty() {
        move_stock(tx, &expired, Movement::Expired).await?;
    }
    Ok(u32::try_from(expired.len()).unwrap_or(u32::MAX))
}

async fn take_stock(
    tx: &mut SqliteConnection,
    checkout: CheckoutId,
    lines: &Lines,
    ttl: Duration,
) -> Outcome<Timestamp> {
    let short = shortages_after_expiry(tx, lines).await?;
    let refused = !short.is_empty();
    let state = if refused { State::Refused } else { State::Held };
    let ttl = row::ttl(ttl)?;
    let expires_at: Option<i64> = sqlx::query_scalar(concat!(
        "INSERT INTO reservations (checkout_id, state, expires_at, shortages, created_at, updated_at)
         SELECT ?, ?, now.at + ?, ?, now.at, now.at FROM (SELECT ",
        now!(),
        " AS at) AS now RETURNING expires_at"
    ))
    .bind(checkout.to_string())
    .bind(state.name())
    .bind((!refused).then_some(ttl))
    .bind(if refused {
        Some(serde_json::to_string(&short).map_err(StoreError::corrupt)?)
    } else {
        None
    })
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO reservation_lines (checkout_id, product_id, quantity)
         SELECT ?, value ->> 0, value ->> 1 FROM json_each(?)",
    )
    .bind(checkout.to_string())
    .bind(json(lines))
    .execute(&mut *tx)
    .await?;
    match expires_at {
        Some(at) => {
            move_stock(tx, &[checkout.to_string()], Movement::Held).await?;
            Ok(Ok(timestamp(at)?))
        }
        None => Ok(Err(Refusal::OutOfStock(short))),
    }
}

/// The shortages that remain after due reservations were expired.
async fn shortages_after_expiry(tx: &mut SqliteConnection, lines: &Lines) -> Result<Vec<Shortage>, StoreError> {
    let short = current_shortages(tx, lines).await?;
    if short.is_empty() || expire(tx, u32::MAX).await? == 0 {
        return Ok(short);
    }
    current_shortages(tx, lines).await
}

async fn current_shortages(tx: &mut SqliteConnection, lines: &Lines) -> Result<Vec<Shortage>, StoreError> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT line.value ->> 0 AS product_id, line.value ->> 1 AS requested, coalesce(on_hand - held, 0) AS available
         FROM json_each(?) AS line LEFT JOIN stock ON stock.product_id = line.value ->> 0
         WHERE requested > available ORDER BY 1",
    )
    .bind(json(lines))
    .fetch_all(tx)
    .await?;
    let shortage = |(product, requested, available)| {
        row::product_id(product).map(|product_id| Shortage {
            product_id,
            requested,
            available,
        })
    };
    rows.into_iter().map(shortage).collect()
}

/// Moves the stock of these reservations and writes the ledger. Nothing else changes `stock` for a checkout, so that
/// the ledger always adds up.
async fn move_stock(tx: &mut SqliteConnection, checkouts: &[String], movement: Movement) -> Result<(), StoreError> {
    let checkouts = serde_json::json!(checkouts).to_string();
    let (on_hand, held) = movement.deltas();
    sqlx::query(
        "UPDATE stock SET on_hand = on_hand + ?2 * moved.quantity, held = held + ?3 * moved.quantity
         FROM (SELECT product_id, sum(quantity) AS quantity FROM reservation_lines
               WHERE checkout_id IN (SELECT value FROM json_each(?1)) GROUP BY product_id) AS moved
         WHERE stock.product_id = moved.product_id",
    )
    .bind(&checkouts)
    .bind(on_hand)
    .bind(held)
    .execute(&mut *tx)
    .await?;
    sqlx::query(concat!(
        "INSERT INTO ledger (kind, product_id, on_hand_delta, held_delta, checkout_id, at)
         SELECT ?2, product_id, ?3 * quantity, ?4 * quantity, checkout_id, ",
        now!(),
        " FROM reservation_lines WHERE checkout_id IN (SELECT value FROM json_each(?1))"
    ))
    .bind(&checkouts)
    .bind(movement.name())
    .bind(on_hand)
    .bind(held)
    .execute(tx)
    .await?;
    Ok(())
}

/// Sets the state of a reservation. A missing reservation is created.
async fn set_state(tx: &mut SqliteConnection, checkout: CheckoutId, state: State) -> Result<(), StoreError> {
    let known = sqlx::query(concat!(
        "UPDATE reservations SET state = ?2, updated_at = ",
        now!(),
        " WHERE checkout_id = ?1"
    ))
    .bind(checkout.to_string())
    .bind(state.name())
    .execute(&mut *tx)
    .await?;
    if known.rows_affected() == 0 {
        sqlx::query(concat!(
            "INSERT INTO reservations (checkout_id, state, created_at, updated_at)
             SELECT ?, ?, now.at, now.at FROM (SELECT ",
            now!(),
            " AS at) AS now"
        ))
        .bind(checkout.to_string())
        .bind(state.name())
        .execute(tx)
        .await?;
    }
    Ok(())
}

async fn find(tx: &mut SqliteConnection, checkout: CheckoutId) -> Result<Option<Reservation>, StoreError> {
    let row: Option<(String, Option<i64>, Shortages)> =
        sqlx::query_as("SELECT state, expires_at, shortages FROM reservations WHERE checkout_id = ?")
            .bind(checkout.to_string())
            .fetch_optional(&mut *tx)
            .await?;
    let Some((name, expires_at, shortages)) = row else {
        return Ok(None);
    };
    Ok(Some(Reservation {
        state: row::state(&name)?,
        lines: lines_of(tx, checkout).await?,
        first_answer: row::first_answer(expires_at.map(timestamp).transpose()?, shortages),
    }))
}

async fn lines_of(tx: &mut SqliteConnection, checkout: CheckoutId) -> Result<Lines, StoreError> {
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT product_id, quantity FROM reservation_lines WHERE checkout_id = ?")
            .bind(checkout.to_string())
            .fetch_all(tx)
            .await?;
    row::lines(rows)
}

/// The lines for `json_each`: `[[product, quantity], …]`.
fn json(lines: &Lines) -> String {
    serde_json::json!(lines.iter().collect::<Vec<_>>()).to_string()
}

fn timestamp(millisecond: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millisecond).map_err(StoreError::corrupt)
}
