//! Checkouts in JSON.

use money::Amount;
use proto::{
    Reason,
    checkout::v1::{Checkout, CheckoutItem, CheckoutStatus, Failure, HistoryEntry, Shortage},
};
use serde::Serialize;

use crate::{
    encode::{self, Time},
    problem::Problem,
};

#[derive(Serialize)]
pub(super) struct CheckoutJson {
    checkout_id: String,
    status: &'static str,
    order_id: String,
    items: Vec<ItemJson>,
    total_amount: Amount,
    currency: String,
    payment_id: Option<String>,
    failure: Option<FailureJson>,
    created_at: Time,
    updated_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<HistoryJson>>,
}

#[derive(Serialize)]
struct ItemJson {
    product_id: i64,
    product_name: String,
    quantity: i32,
    unit_price: Amount,
    subtotal: Amount,
}

#[derive(Serialize)]
struct FailureJson {
    reason: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ShortageJson>>,
}

#[derive(Serialize)]
struct ShortageJson {
    product_id: i64,
    requested: i64,
    available: i64,
}

#[derive(Serialize)]
struct HistoryJson {
    status: &'static str,
    at: Time,
    detail: String,
}

impl CheckoutJson {
    pub(super) fn without_history(wire: Checkout) -> Result<Self, Problem> {
        let status = status(wire.status())?;
        let total = encode::price(wire.total_amount, "checkout.total_amount")?;
        Ok(Self {
            checkout_id: wire.checkout_id,
            status,
            order_id: wire.order_id,
            items: wire
                .items
                .into_iter()
                .map(ItemJson::try_from)
                .collect::<Result<_, _>>()?,
            total_amount: total.amount,
            currency: total.currency,
            payment_id: Some(wire.payment_id).filter(|id| !id.is_empty()),
            failure: wire.failure.map(FailureJson::from),
            created_at: encode::time(wire.created_at.as_ref(), "checkout.created_at")?,
            updated_at: encode::time(wire.updated_at.as_ref(), "checkout.updated_at")?,
            history: None,
        })
    }

    pub(super) fn with_history(mut wire: Checkout) -> Result<Self, Problem> {
        let history = std::mem::take(&mut wire.history);
        let history = history
            .into_iter()
            .map(HistoryJson::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            history: Some(history),
            ..Self::without_history(wire)?
        })
    }
}

impl TryFrom<CheckoutItem> for ItemJson {
    type Error = Problem;

    fn try_from(wire: CheckoutItem) -> Result<Self, Problem> {
        Ok(Self {
            product_id: wire.product_id,
            product_name: wire.product_name,
            quantity: wire.quantity,
            unit_price: encode::amount(wire.unit_price, "checkout.item.unit_price")?,
            subtotal: encode::amount(wire.subtotal, "checkout.item.subtotal")?,
        })
    }
}

impl From<Failure> for FailureJson {
    fn from(wire: Failure) -> Self {
        let out_of_stock = wire.reason == Reason::OutOfStock.as_str();
        let items = out_of_stock.then(|| wire.items.into_iter().map(ShortageJson::from).collect());
        Self {
            reason: wire.reason,
            message: wire.message,
            items,
        }
    }
}

impl From<Shortage> for ShortageJson {
    fn from(wire: Shortage) -> Self {
        Self {
            product_id: wire.product_id,
            requested: wire.requested,
            available: wire.available,
        }
    }
}

impl TryFrom<HistoryEntry> for HistoryJson {
    type Error = Problem;

    fn try_from(wire: HistoryEntry) -> Result<Self, Problem> {
        let at = encode::time(wire.at.as_ref(), "checkout.history.at")?;
        Ok(Self {
            status: status(wire.status())?,
            at,
            detail: wire.detail,
        })
    }
}

fn status(wire: CheckoutStatus) -> Result<&'static str, Problem> {
    encode::status(wire.as_str_name(), "CHECKOUT_STATUS_")
}
