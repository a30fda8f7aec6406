//! Errors as gRPC statuses.

use proto::status::{internal, unavailable};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

/// Logs the error; nothing else does.
pub(super) fn store_failed(error: &StoreError) -> Status {
    tracing::error!(error = chain(error), "the notification store failed");
    match error {
        StoreError::Unavailable(_) => unavailable(),
        StoreError::Conflict | StoreError::Corrupt(_) => internal(),
    }
}
