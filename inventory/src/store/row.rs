//! Reads rows of either database.

use std::time::Duration;

use jiff::Timestamp;
use money::Quantity;
use sqlx::types::Json;
use storage::StoreError;

use crate::domain::{Lines, ProductId, Refusal, Shortage, State, Stock};

/// A year. Keeps expiry times within the range of timestamps.
const MAX_TTL: Duration = Duration::from_hours(365 * 24);

/// Product, on hand, held.
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

/// Reads rows of a product and a quantity.
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

/// The shortages of a refused reservation.
pub(super) type Shortages = Option<Json<Vec<Shortage>>>;

pub(super) fn first_answer(expires_at: Option<Timestamp>, shortages: Shortages) -> Option<Result<Timestamp, Refusal>> {
    match (expires_at, shortages) {
        (_, Some(Json(shortages))) => Some(Err(Refusal::OutOfStock(shortages))),
        (Some(at), None) => Some(Ok(at)),
        (None, None) => None,
    }
}

/// In milliseconds.
pub(super) fn ttl(ttl: Duration) -> Result<i64, StoreError> {
    i64::try_from(ttl.min(MAX_TTL).as_millis()).map_err(StoreError::corrupt)
}
