//! Errors as gRPC statuses.

use proto::{
    Reason,
    status::{Refusal, internal, unavailable},
};
use runtime::telemetry::chain;
use storage::{BoundedError, StoreError};
use tonic::Status;

use crate::domain::{InvalidDetails, InvalidQuery};

pub(super) fn product_not_found() -> Refusal {
    Refusal::new(Reason::ProductNotFound, "product not found")
}

pub(super) fn invalid_query(_: InvalidQuery) -> Refusal {
    Refusal::field(
        "query",
        "query must be at most 100 characters without control characters",
    )
}

pub(super) fn invalid_details(invalid: InvalidDetails) -> Refusal {
    match invalid {
        InvalidDetails::Name => Refusal::field(
            "name",
            "name must be 1 to 200 characters, not all blank, without control characters",
        ),
        InvalidDetails::Description => Refusal::field(
            "description",
            "description must be at most 2000 characters without control characters",
        ),
        InvalidDetails::Price => Refusal::field("price.minor_units", "price must be 1 to 100000000 minor units"),
        InvalidDetails::Currency => Refusal::field("price.currency_code", "price must be in USD"),
        InvalidDetails::ImageUrl => Refusal::field(
            "image_url",
            "image_url must be an address of http or https, or a path, of at most 2000 characters without control characters",
        ),
    }
}

/// A rejected page request is no failure of the store. Logged at debug level, since there may be very many.
pub(super) fn page_failed(error: BoundedError) -> Status {
    match error {
        BoundedError::QueueFull | BoundedError::TimedOut => {
            tracing::debug!(%error, "a page request was rejected");
            Refusal::new(
                Reason::ServiceUnavailable,
                "there are too many requests for pages at the moment, try again",
            )
            .into()
        }
        BoundedError::Store(error) => store_failed(error),
    }
}

/// Logs failures of the store here and nowhere else.
pub(super) fn store_failed(error: StoreError) -> Status {
    match error {
        StoreError::Unavailable(source) => {
            tracing::error!(causes = chain(&*source), "the store of the catalogue is unavailable");
            unavailable()
        }
        StoreError::Corrupt(source) => {
            tracing::error!(causes = chain(&*source), "the store of the catalogue has invalid data");
            internal()
        }
        StoreError::Conflict => {
            tracing::error!("the store of the catalogue reported an unexpected conflict");
            internal()
        }
    }
}
