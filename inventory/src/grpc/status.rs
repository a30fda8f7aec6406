//! Errors as gRPC statuses.

use proto::{
    Fact, Reason,
    status::{Refusal as WireRefusal, internal, unavailable},
};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

use crate::domain::{KeyReused, Refusal};

pub(super) fn refused(refusal: Refusal) -> Status {
    let (reason, message) = match refusal {
        Refusal::OutOfStock(shortages) => {
            let Ok(shortages) = serde_json::to_string(&shortages) else {
                return internal();
            };
            return WireRefusal::new(Reason::OutOfStock, "out of stock")
                .with(Fact::Shortages, shortages)
                .into();
        }
        Refusal::Mismatch => (Reason::ReservationMismatch, "this checkout reserved other lines before"),
        Refusal::NotFound => (Reason::ReservationNotFound, "reservation not found"),
        Refusal::Released => (Reason::ReservationReleased, "the reservation was released"),
        Refusal::Expired => (
            Reason::ReservationExpired,
            "the reservation expired and its stock is gone",
        ),
        Refusal::Confirmed => (Reason::ReservationConfirmed, "the reservation was confirmed"),
    };
    WireRefusal::new(reason, message).into()
}

pub(super) fn key_reused(_: KeyReused) -> WireRefusal {
    WireRefusal::field("idempotency_key", "idempotency_key was used for another delivery")
}

/// Logs failures of the store here and nowhere else.
pub(super) fn store_failed(error: StoreError) -> Status {
    match error {
        StoreError::Unavailable(source) => {
            tracing::error!(causes = chain(&*source), "the store of the inventory is unavailable");
            unavailable()
        }
        StoreError::Corrupt(source) => {
            tracing::error!(causes = chain(&*source), "the store of the inventory has invalid data");
            internal()
        }
        StoreError::Conflict => {
            tracing::error!("the store of the inventory reported an unexpected conflict");
            internal()
        }
    }
}
