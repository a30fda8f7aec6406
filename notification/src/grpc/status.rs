//! Failures as gRPC statuses.

use proto::status::{internal, unavailable};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

/// The one place where a failure of the store is logged.
pub(super) fn store_failed(error: &StoreError) -> Status {
    tracing::error!(error = chain(error), "the store of the notifications failed");
    match error {
        StoreError::Unavailable(_) => unavailable(),
        StoreError::Conflict | StoreError::Corrupt(_) => internal(),
    }
}
