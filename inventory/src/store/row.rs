//! What rows say, whatever database they are in.

use std::time::Duration;

use jiff::Timestamp;
use money::Quantity;
use sqlx::types::Json;
use storage::StoreError;

use crate::domain::{Lines, ProductId, Refusal, Shortage, State, Stock};

/// No hold is longer: a year. Keeps every time within what can be written.
const LONGEST_TTL: Duration = Duration::from_hours(365 * 24);

/// product, on hand, held.
pub(super) type StockRow = (i64, i64, i64);

pub(super) fn stock((product, on_hand, held): StockRow) -> Result<Stock, StoreError> {
    Ok(Stock {
        product: product_id(product)?,
        on_hand,
        held,
    })
}

pub(super) fn product_id(id: i64) -> Result<ProductId, StoreError> {
    ProductId::new(id).ok_or_else(|| StoreError::corrupt(format!("product id {id}")))
}

pub(super) fn state(name: &str) -> Result<State, StoreError> {
    State::parse(name).ok_or_else(|| StoreError::corrupt(format!("reservation state {name}")))
}

/// A product and a quantity each.
pub(super) fn lines(rows: impl IntoIterator<Item = (i64, i64)>) -> Result<Lines, StoreError> {
    let line = |(product, quantity)| {
        Ok((
            product_id(product)?,
            Quantity::new(quantity).map_err(StoreError::corrupt)?,
        ))
    };
    let lines = rows.into_iter().map(line).collect::<Result<Vec<_>, StoreError>>()?;
    Lines::add_up(lines).map_err(StoreError::corrupt)
}

/// What was short, of a reservation that was refused.
pub(super) type Shortages = Option<Json<Vec<Shortage>>>;

/// What the first Reserve was told, if there was one.
pub(super) fn first_answer(expires_at: Option<Timestamp>, shortages: Shortages) -> Option<Result<Timestamp, Refusal>> {
    match (expires_at, shortages) {
        (_, Some(Json(shortages))) => Some(Err(Refusal::OutOfStock(shortages))),
        (Some(at), None) => Some(Ok(at)),
        (None, None) => None,
    }
}

/// How long a hold is, in milliseconds.
pub(super) fn ttl(ttl: Duration) -> Result<i64, StoreError> {
    i64::try_from(ttl.min(LONGEST_TTL).as_millis()).map_err(StoreError::corrupt)
}
