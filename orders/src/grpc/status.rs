//! Errors as gRPC statuses.

use proto::{
    Reason,
    status::{Refusal, internal, unavailable},
};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

use crate::domain::OrderId;

/// The same answer for a missing order and for another user's.
pub(super) fn not_found(id: OrderId) -> Refusal {
    Refusal::new(Reason::OrderNotFound, format!("order not found: {}", id.0))
}

/// Logs the error; nothing else does.
pub(super) fn store_failed(error: &StoreError) -> Status {
    tracing::error!(error = chain(error), "the order store failed");
    match error {
        StoreError::Unavailable(_) => unavailable(),
        StoreError::Conflict | StoreError::Corrupt(_) => internal(),
    }
}
