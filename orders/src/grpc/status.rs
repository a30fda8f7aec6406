//! Failures as gRPC statuses.

use proto::{
    Reason,
    status::{Refusal, internal, unavailable},
};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

use crate::domain::OrderId;

/// Another user's order is not told from one that is not there.
pub(super) fn not_found(id: OrderId) -> Refusal {
    Refusal::new(Reason::OrderNotFound, format!("order not found: {}", id.0))
}

/// The one place where a failure of the store is logged.
pub(super) fn store_failed(error: &StoreError) -> Status {
    tracing::error!(error = chain(error), "the store of the orders failed");
    match error {
        StoreError::Unavailable(_) => unavailable(),
        StoreError::Conflict | StoreError::Corrupt(_) => internal(),
    }
}
