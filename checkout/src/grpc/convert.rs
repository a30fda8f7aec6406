//! Converts domain values to wire messages, and parts of requests to domain values.

use ::saga::{Entry, SagaId, State as _};
use money::MoneyError;
use proto::{
    checkout::v1::{self as wire, CheckoutStatus},
    convert::timestamp,
    status::Refusal,
};
use storage::{StoreError, from_page_token, to_page_token};
use uuid::Uuid;

use crate::{
    app::erasure::ParkedPolicy,
    domain::{Checkout, ExpectedTotal, Failure, Line, Status},
};

/// A purchase whose subtotals cannot be computed is corrupt: `Purchase::new` refuses it.
pub(super) fn checkout(checkout: &Checkout, history: &[Entry]) -> Result<wire::Checkout, StoreError> {
    let status = checkout.status();
    let failure = if status == Status::Failed {
        checkout.state.failure().map(failure)
    } else {
        None
    };
    let items = checkout.purchase.lines.iter().map(item);
    Ok(wire::Checkout {
        checkout_id: checkout.id.to_string(),
        user_id: checkout.user.as_str().to_owned(),
        status: wire_status(status).into(),
        order_id: checkout.id.order_id().to_string(),
        items: items.collect::<Result<_, _>>().map_err(StoreError::corrupt)?,
        total_amount: Some(checkout.purchase.total.into()),
        payment_id: checkout.payment_id.clone().unwrap_or_default(),
        failure,
        created_at: Some(timestamp(checkout.created_at)),
        updated_at: Some(timestamp(checkout.updated_at)),
        needs_attention: checkout.needs_attention,
        history: history.iter().filter_map(entry).collect(),
    })
}

fn item(line: &Line) -> Result<wire::CheckoutItem, MoneyError> {
    Ok(wire::CheckoutItem {
        product_id: line.product.get(),
        product_name: line.name.clone(),
        quantity: line.quantity.into(),
        unit_price: Some(line.unit_price.into()),
        subtotal: Some(line.subtotal()?.into()),
    })
}

fn failure(failure: &Failure) -> wire::Failure {
    let shortages = failure.shortages.iter().map(|shortage| wire::Shortage {
        product_id: shortage.product_id,
        requested: shortage.requested,
        available: shortage.available,
    });
    wire::Failure {
        reason: failure.reason.as_str().to_owned(),
        message: failure.message.clone(),
        items: shortages.collect(),
    }
}

fn entry(entry: &Entry) -> Option<wire::HistoryEntry> {
    let status = Status::of_entry(&entry.state)?;
    Some(wire::HistoryEntry {
        status: wire_status(status).into(),
        at: Some(timestamp(entry.at)),
        detail: entry.detail.clone(),
    })
}

const fn wire_status(status: Status) -> CheckoutStatus {
    match status {
        Status::Initiated => CheckoutStatus::Initiated,
        Status::InventoryReserved => CheckoutStatus::InventoryReserved,
        Status::PaymentPending => CheckoutStatus::PaymentPending,
        Status::PaymentCompleted => CheckoutStatus::PaymentCompleted,
        Status::Completed => CheckoutStatus::Completed,
        Status::Failed => CheckoutStatus::Failed,
    }
}

/// The total that the customer was shown. Without a currency code, the cart's currency applies.
pub(super) fn expected_total(wire: &proto::money::v1::Money) -> Result<ExpectedTotal, Refusal> {
    let currency = match wire.currency_code.as_str() {
        "" => None,
        code => {
            let currency = code.parse();
            Some(currency.map_err(|_| Refusal::field("expected_total", "expected_total has no currency of ISO 4217"))?)
        }
    };
    if wire.minor_units < 0 {
        return Err(Refusal::field("expected_total", "expected_total must not be negative"));
    }
    Ok(ExpectedTotal {
        minor_units: wire.minor_units,
        currency,
    })
}

/// The status to list. `None` lists all.
pub(super) fn status_filter(status: i32) -> Result<Option<Status>, Refusal> {
    let unknown = |_| Refusal::field("status", "status is not one of CheckoutStatus");
    Ok(match CheckoutStatus::try_from(status).map_err(unknown)? {
        CheckoutStatus::Unspecified => None,
        CheckoutStatus::Initiated => Some(Status::Initiated),
        CheckoutStatus::InventoryReserved => Some(Status::InventoryReserved),
        CheckoutStatus::PaymentPending => Some(Status::PaymentPending),
        CheckoutStatus::PaymentCompleted => Some(Status::PaymentCompleted),
        CheckoutStatus::Completed => Some(Status::Completed),
        CheckoutStatus::Failed => Some(Status::Failed),
    })
}

pub(super) const fn parked_policy(drop_parked: bool) -> ParkedPolicy {
    if drop_parked {
        ParkedPolicy::Drop
    } else {
        ParkedPolicy::Keep
    }
}

/// Names the list of a request. A page token is valid for one list only.
fn list_name(request: &wire::ListCheckoutsRequest) -> String {
    format!("checkouts {} {}", request.status, request.needs_attention)
}

pub(super) fn page_token(request: &wire::ListCheckoutsRequest) -> Result<Option<SagaId>, Refusal> {
    proto::convert::page_token(&request.page_token, |token| {
        let position = from_page_token(token, &list_name(request))?;
        Uuid::from_slice(&position).ok().map(SagaId)
    })
}

pub(super) fn next_page_token(next: Option<SagaId>, request: &wire::ListCheckoutsRequest) -> String {
    next.map(|id| to_page_token(id.0.as_bytes(), &list_name(request)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use money::{Money, Quantity};

    use super::*;
    use crate::domain::ProductId;

    #[test]
    fn a_line_without_a_subtotal_is_an_error_and_not_free() {
        let line = |unit_price| Line {
            product: ProductId::new(1).unwrap(),
            name: "Laptop".to_owned(),
            quantity: Quantity::new(2).unwrap(),
            unit_price: Money::usd(unit_price),
        };
        assert_eq!(item(&line(5)).unwrap().subtotal, Some(Money::usd(10).into()));
        item(&line(Money::MAX_MINOR_UNITS)).unwrap_err();
    }
}
