//! Rows of the journal, and the values in them.

use std::time::Duration;

use jiff::Timestamp;
use money::{Currency, Money, Quantity};
use proto::Reason;
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};
use storage::StoreError;

use crate::{
    domain::{Checkout, CheckoutId, Entry, Failure, Line, PaymentMethod, ProductId, Purchase, Shortage, UserId},
    ports::{Claimed, Fence},
    saga::State,
};

/// What [`checkout`] reads.
pub(super) const COLUMNS: &str = "id, user_id, fingerprint, state, failure, lines, total_minor, currency, payment_method, \
     payment_id, cart_version, created_at, updated_at, version, attempts, needs_attention";

/// A frozen line, as JSON. Prices are in minor units of the checkout's currency.
#[derive(Debug, Serialize, Deserialize)]
struct LineRow {
    product_id: i64,
    name: String,
    quantity: i64,
    unit_price: i64,
}

/// Why a checkout failed or is about to, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FailureRow {
    reason: String,
    message: String,
    #[serde(default)]
    shortages: Vec<Shortage>,
}

impl FailureRow {
    pub(super) fn json(failure: &Failure) -> Result<String, StoreError> {
        let row = Self {
            reason: failure.reason.as_str().to_owned(),
            message: failure.message.clone(),
            shortages: failure.shortages.clone(),
        };
        serde_json::to_string(&row).map_err(StoreError::corrupt)
    }

    fn parse(json: &str) -> Result<Failure, StoreError> {
        let row: Self = serde_json::from_str(json).map_err(StoreError::corrupt)?;
        let reason = Reason::parse(&row.reason).ok_or_else(|| unexpected("failure", &row.reason))?;
        Ok(Failure {
            reason,
            message: row.message,
            shortages: row.shortages,
        })
    }
}

pub(super) fn lines_json(lines: &[Line]) -> Result<String, StoreError> {
    let rows: Vec<_> = lines
        .iter()
        .map(|line| LineRow {
            product_id: line.product.0,
            name: line.name.clone(),
            quantity: line.quantity.get(),
            unit_price: line.unit_price.minor_units(),
        })
        .collect();
    serde_json::to_string(&rows).map_err(StoreError::corrupt)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn unexpected(column: &str, value: &str) -> StoreError {
    StoreError::corrupt(format!("column {column} holds {value:?}"))
}

fn timestamp(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(row.try_get(column)?).map_err(StoreError::corrupt)
}

pub(super) fn checkout(row: &SqliteRow) -> Result<Checkout, StoreError> {
    let id: String = row.try_get("id")?;
    let (state, failure): (String, Option<String>) = (row.try_get("state")?, row.try_get("failure")?);
    let failure = failure.as_deref().map(FailureRow::parse).transpose()?;
    let method: String = row.try_get("payment_method")?;
    Ok(Checkout {
        id: CheckoutId(id.parse().map_err(StoreError::corrupt)?),
        user: UserId(row.try_get("user_id")?),
        fingerprint: row.try_get("fingerprint")?,
        method: PaymentMethod::new(&method).ok_or_else(|| unexpected("payment_method", &method))?,
        purchase: purchase(row)?,
        state: State::from_parts(&state, failure).ok_or_else(|| unexpected("state", &state))?,
        payment_id: row.try_get("payment_id")?,
        created_at: timestamp(row, "created_at")?,
        updated_at: timestamp(row, "updated_at")?,
        attempts: row.try_get("attempts")?,
        needs_attention: row.try_get("needs_attention")?,
        version: row.try_get("version")?,
    })
}

fn purchase(row: &SqliteRow) -> Result<Purchase, StoreError> {
    let (currency, lines): (String, String) = (row.try_get("currency")?, row.try_get("lines")?);
    let currency: Currency = currency.parse().map_err(StoreError::corrupt)?;
    let rows: Vec<LineRow> = serde_json::from_str(&lines).map_err(StoreError::corrupt)?;
    let lines = rows.into_iter().map(|line| {
        Ok(Line {
            product: ProductId(line.product_id),
            name: line.name,
            quantity: Quantity::new(line.quantity).map_err(StoreError::corrupt)?,
            unit_price: Money::new(line.unit_price, currency),
        })
    });
    Ok(Purchase {
        lines: lines.collect::<Result<_, StoreError>>()?,
        total: Money::new(row.try_get("total_minor")?, currency),
        cart_version: row.try_get("cart_version")?,
    })
}

pub(super) fn claimed(row: &SqliteRow) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        checkout: checkout(row)?,
        fence: Fence(row.try_get("fence")?),
    })
}

pub(super) fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        state: row.try_get("state")?,
        at: timestamp(row, "at")?,
        detail: row.try_get("detail")?,
    })
}
