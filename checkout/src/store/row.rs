//! What is in the rows of a journal, whatever database they are in.

use std::time::Duration;

use jiff::Timestamp;
use money::{Currency, Money, Quantity};
use proto::Reason;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use storage::StoreError;
use uuid::Uuid;

use crate::{
    domain::{
        CartRef, Checkout, CheckoutId, Failure, Line, PaymentMethod, ProductId, Purchase, Shortage, Status, UserId,
    },
    ports::{Lease, Record},
    saga::State,
};

/// What a [`CheckoutRow`] is read from.
pub(super) const COLUMNS: &str = "id, user_id, fingerprint, state, failure, lines, total_minor, currency, payment_method, \
     payment_id, cart_id, cart_version, held, created_at, updated_at, version, attempts, needs_attention";

/// What the first entry of every history says.
pub(super) const BEGUN: &str = "cart and prices are frozen";

/// The event of a checkout that was begun before carts had holds, and got no hold later, takes its pieces off the free lines.
/// Until the cart has read that event, nobody may buy these pieces again. The journal knows whether the event is published,
/// not whether the cart has read it: it counts as unread for this long, or until the cart has a later version than the one
/// that was bought.
pub(super) const UNREAD_FOR: Duration = Duration::from_hours(7 * 24);

/// A frozen line, as JSON. Prices are in minor units of the checkout's currency.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LineRow {
    product_id: i64,
    name: String,
    quantity: i64,
    unit_price: i64,
}

impl LineRow {
    pub(super) fn all_of(lines: &[Line]) -> Json<Vec<Self>> {
        let row = |line: &Line| Self {
            product_id: line.product.0,
            name: line.name.clone(),
            quantity: line.quantity.get(),
            unit_price: line.unit_price.minor_units(),
        };
        Json(lines.iter().map(row).collect())
    }

    fn line(self, currency: Currency) -> Result<Line, StoreError> {
        Ok(Line {
            product: ProductId(self.product_id),
            name: self.name,
            quantity: Quantity::new(self.quantity).map_err(StoreError::corrupt)?,
            unit_price: Money::new(self.unit_price, currency),
        })
    }
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
    fn of(failure: &Failure) -> Self {
        Self {
            reason: failure.reason.as_str().to_owned(),
            message: failure.message.clone(),
            shortages: failure.shortages.clone(),
        }
    }

    fn failure(self) -> Result<Failure, StoreError> {
        Ok(Failure {
            reason: Reason::parse(&self.reason).ok_or_else(|| unexpected("failure", &self.reason))?,
            message: self.message,
            shortages: self.shortages,
        })
    }
}

/// A checkout as it was read.
pub(super) struct CheckoutRow {
    pub(super) id: Uuid,
    pub(super) user_id: String,
    pub(super) fingerprint: String,
    pub(super) state: String,
    pub(super) failure: Option<Json<FailureRow>>,
    pub(super) lines: Json<Vec<LineRow>>,
    pub(super) total_minor: i64,
    pub(super) currency: String,
    pub(super) payment_method: String,
    pub(super) payment_id: Option<String>,
    pub(super) cart: CartRef,
    pub(super) held: bool,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) version: i64,
    pub(super) attempts: u32,
    pub(super) needs_attention: bool,
}

impl TryFrom<CheckoutRow> for Checkout {
    type Error = StoreError;

    fn try_from(row: CheckoutRow) -> Result<Self, StoreError> {
        let currency: Currency = row.currency.parse().map_err(StoreError::corrupt)?;
        let lines = row.lines.0.into_iter().map(|line| line.line(currency));
        let failure = row.failure.map(|failure| failure.0.failure()).transpose()?;
        Ok(Self {
            id: CheckoutId(row.id),
            user: UserId(row.user_id),
            fingerprint: row.fingerprint,
            method: PaymentMethod::new(&row.payment_method)
                .ok_or_else(|| unexpected("payment_method", &row.payment_method))?,
            purchase: Purchase {
                lines: lines.collect::<Result<_, _>>()?,
                total: Money::new(row.total_minor, currency),
                cart: row.cart,
            },
            state: State::from_parts(&row.state, failure).ok_or_else(|| unexpected("state", &row.state))?,
            held: row.held,
            payment_id: row.payment_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
            attempts: row.attempts,
            needs_attention: row.needs_attention,
            version: row.version,
        })
    }
}

/// What a record makes of the row of its checkout.
pub(super) struct Changes {
    pub(super) state: &'static str,
    pub(super) status: &'static str,
    pub(super) failure: Option<Json<FailureRow>>,
    pub(super) payment_id: Option<String>,
    pub(super) held: bool,
    pub(super) updated_at: Timestamp,
    pub(super) version: i64,
    pub(super) attempts: u32,
    pub(super) needs_attention: bool,
    /// How soon the saga is to be driven on.
    pub(super) wakes_in: Duration,
    /// How soon somebody else may do so.
    pub(super) is_free_in: Duration,
}

impl Changes {
    pub(super) fn of(record: &Record, before: &Checkout, lease: &Lease) -> Result<Self, StoreError> {
        let (state, updated_at) = record
            .steps
            .last()
            .map_or((&before.state, before.updated_at), |(state, at, _)| (state, *at));
        let payment_id = record.payment_id.as_ref().or(before.payment_id.as_ref());
        let wakes_in = record.retry.map(|retry| retry.after).unwrap_or_default();
        Ok(Self {
            state: state.name(),
            status: Status::of(state, payment_id.is_some()).name(),
            failure: state.failure().map(|failure| Json(FailureRow::of(failure))),
            payment_id: payment_id.cloned(),
            held: before.held || record.held,
            updated_at,
            version: before.version + i64::try_from(record.steps.len()).map_err(StoreError::corrupt)?,
            attempts: record.retry.map_or(0, |retry| retry.attempts),
            needs_attention: record.retry.is_some_and(|retry| retry.needs_attention),
            wakes_in,
            is_free_in: wakes_in.saturating_add(lease.ttl),
        })
    }
}

fn unexpected(column: &str, value: &str) -> StoreError {
    StoreError::corrupt(format!("column {column} holds {value:?}"))
}
