//! Maps errors to gRPC statuses. Errors are logged here, once.

use proto::{Fact, Reason, status, status::Refusal};
use runtime::telemetry::chain;
use serde_json::json;
use storage::StoreError;
use tonic::Status;

use crate::{
    app::{erasure::EraseError, initiate_checkout::InitiateError},
    domain::{CartRefusal, CheckoutId, PriceChange},
};

pub(super) fn initiate(error: InitiateError) -> Status {
    match error {
        InitiateError::KeyReused => Refusal::new(
            Reason::IdempotencyKeyReused,
            "this idempotency key was used with another request",
        )
        .into(),
        InitiateError::Refused(refusal) => cart_refusal(refusal).into(),
        InitiateError::InProgress(id) => Refusal::new(
            Reason::CheckoutInProgress,
            "everything in the cart is in a checkout that has not ended",
        )
        .with(Fact::CheckoutId, id.to_string())
        .into(),
        InitiateError::TooManyHolds => {
            tracing::warn!("a cart has the maximum of holds; the events of their checkouts are not applied yet");
            status::unavailable()
        }
        InitiateError::Peer(peer) => {
            tracing::warn!(error = chain(&peer), "a peer did not answer before a checkout began");
            status::unavailable()
        }
        InitiateError::Store(error) => store(&error),
        InitiateError::Busy | InitiateError::Stopping => status::unavailable(),
    }
}

pub(super) fn erase(error: EraseError) -> Status {
    let in_progress = |checkout: Option<CheckoutId>, message: String| {
        let refusal = Refusal::new(Reason::CheckoutInProgress, message);
        match checkout {
            Some(checkout) => refusal.with(Fact::CheckoutId, checkout.to_string()).into(),
            None => refusal.into(),
        }
    };
    match error {
        EraseError::Unfinished(checkout) => in_progress(
            Some(checkout),
            format!("checkout {checkout} has not ended; erase this customer again when it has"),
        ),
        EraseError::Undelivered(checkout) => in_progress(
            checkout,
            "an event of this customer has not come to all services yet; erase the customer again".to_owned(),
        ),
        EraseError::Parked(parked) => in_progress(
            parked.message.key.parse().map(CheckoutId).ok(),
            format!(
                "event {id} is parked by {group}; send it through again with `cartwright dlq redrive {id}`, or let it go \
                 with --drop-parked",
                id = parked.id,
                group = parked.group
            ),
        ),
        EraseError::Store(error) => store(&error),
        EraseError::Bus(error) => {
            tracing::error!(
                error = chain(&error),
                "the events of an erased customer could not be removed from the log"
            );
            status::unavailable()
        }
    }
}

fn cart_refusal(refusal: CartRefusal) -> Refusal {
    match refusal {
        CartRefusal::Empty => Refusal::new(Reason::CartEmpty, "cart is empty"),
        CartRefusal::ProductsUnavailable(products) => {
            let ids: Vec<_> = products.iter().map(|product| product.get()).collect();
            Refusal::new(
                Reason::ProductUnavailable,
                "the cart holds products that are not sold any more",
            )
            .with(Fact::ProductIds, json!(ids).to_string())
        }
        CartRefusal::VersionMismatch { current } => {
            Refusal::new(Reason::CartVersionMismatch, "the cart was changed in the meantime")
                .with(Fact::Version, current.to_string())
        }
        CartRefusal::TooManyLines { max } => Refusal::new(
            Reason::CartFull,
            format!("a purchase has at most {max} lines; take some out of the cart"),
        )
        .with(Fact::Max, max.to_string()),
        CartRefusal::MissingTotal => {
            let message = "expected_total is required with accept_price_changes: the total that the customer was shown";
            Refusal::field("expected_total", message)
        }
        CartRefusal::PriceChanged { changes, total } => {
            let change = |change: &PriceChange| {
                json!({
                    "product_id": change.product.get(),
                    "old_minor": change.old.minor_units(),
                    "new_minor": change.new.minor_units(),
                })
            };
            let changes: Vec<_> = changes.iter().map(change).collect();
            let message = if changes.is_empty() {
                "the cart costs another total than expected_total"
            } else {
                "prices have changed since these products went into the cart"
            };
            Refusal::new(Reason::PriceChanged, message)
                .with(Fact::Changes, json!(changes).to_string())
                .with(Fact::Total, total.minor_units().to_string())
        }
        CartRefusal::InvalidTotal(error) => {
            Refusal::new(Reason::InvalidArgument, format!("the cart cannot be bought: {error}"))
        }
    }
}

pub(super) fn missing_key() -> Refusal {
    Refusal::new(Reason::MissingIdempotencyKey, "idempotency_key is required").at("idempotency_key")
}

pub(super) fn not_found() -> Status {
    Refusal::new(Reason::CheckoutNotFound, "checkout not found").into()
}

pub(super) fn store(error: &StoreError) -> Status {
    tracing::error!(error = chain(error), "the journal failed");
    match error {
        StoreError::Unavailable(_) => status::unavailable(),
        StoreError::Conflict | StoreError::Corrupt(_) => status::internal(),
    }
}
