//! Errors as gRPC statuses.

use proto::{
    Fact, Reason,
    status::{Refusal, internal, unavailable},
};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

use crate::{app::CartError, domain::CartRefusal};

/// The status of a failed use case. Internal errors are logged here and nowhere else.
pub(super) fn refuse(error: CartError) -> Status {
    match error {
        CartError::Refused(why) => refused(why).into(),
        CartError::ProductNotFound => Refusal::new(Reason::ProductNotFound, "product not found")
            .at("product_id")
            .into(),
        CartError::CatalogueUnavailable(source) => {
            tracing::error!(
                error = chain(source.as_ref()),
                "the product service gave no usable answer"
            );
            unavailable()
        }
        CartError::HoldRefused => Refusal::new(
            Reason::CartChanged,
            "pieces of this purchase are in another checkout, or were taken out of the cart",
        )
        .into(),
        CartError::Contended => {
            tracing::error!("a change of a cart conflicted on every attempt");
            unavailable()
        }
        CartError::Store(error @ StoreError::Unavailable(_)) => {
            tracing::error!(error = chain(&error), "the store of carts is unavailable");
            unavailable()
        }
        CartError::Store(error @ (StoreError::Conflict | StoreError::Corrupt(_))) => {
            tracing::error!(error = chain(&error), "a cart could not be read or written");
            internal()
        }
    }
}

pub(super) fn refused(why: CartRefusal) -> Refusal {
    match why {
        CartRefusal::Full { max } => Refusal::new(Reason::CartFull, format!("a cart holds at most {max} products"))
            .with(Fact::Max, max.to_string()),
        CartRefusal::QuantityOutOfRange { max } => {
            Refusal::new(Reason::InvalidQuantity, format!("quantity must be between 1 and {max}")).at("quantity")
        }
        CartRefusal::ItemNotFound => Refusal::new(Reason::ItemNotFound, "item not found in cart").at("product_id"),
        CartRefusal::VersionMismatch { current } => {
            Refusal::new(Reason::CartVersionMismatch, "the cart was changed in the meantime")
                .with(Fact::Version, current.0.to_string())
        }
        CartRefusal::KeyReused => Refusal::new(
            Reason::IdempotencyKeyReused,
            "this idempotency key, or the id of this call, was used with another request",
        ),
        CartRefusal::Total(error) => Refusal::field("quantity", format!("the total cannot be computed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use money::MoneyError;
    use proto::status::{fields, metadata, reason};
    use tonic::Code;

    use super::*;
    use crate::domain::Version;

    #[test]
    fn each_error_has_its_reason_and_shows_no_internals() {
        let secret = || StoreError::unavailable("10.0.0.1 said no");
        let cases = [
            (CartError::Refused(CartRefusal::Full { max: 50 }), Reason::CartFull),
            (
                CartError::Refused(CartRefusal::QuantityOutOfRange { max: 99 }),
                Reason::InvalidQuantity,
            ),
            (CartError::Refused(CartRefusal::ItemNotFound), Reason::ItemNotFound),
            (
                CartError::Refused(CartRefusal::VersionMismatch { current: Version(3) }),
                Reason::CartVersionMismatch,
            ),
            (
                CartError::Refused(CartRefusal::Total(MoneyError::Overflow)),
                Reason::InvalidArgument,
            ),
            (CartError::Refused(CartRefusal::KeyReused), Reason::IdempotencyKeyReused),
            (CartError::HoldRefused, Reason::CartChanged),
            (CartError::ProductNotFound, Reason::ProductNotFound),
            (
                CartError::CatalogueUnavailable("10.0.0.1 is away".into()),
                Reason::ServiceUnavailable,
            ),
            (CartError::Contended, Reason::ServiceUnavailable),
            (CartError::Store(secret()), Reason::ServiceUnavailable),
            (CartError::Store(StoreError::Conflict), Reason::Internal),
            (CartError::Store(StoreError::corrupt("10.0.0.1")), Reason::Internal),
        ];
        for (error, expected) in cases {
            let status = refuse(error);
            assert_eq!(reason(&status), Some(expected));
            assert!(!status.message().contains("10.0.0.1"), "{status}");
        }
    }

    #[test]
    fn fixed_messages_are_those_of_the_contract() {
        let status = refuse(CartError::Refused(CartRefusal::QuantityOutOfRange { max: 99 }));
        assert_eq!(status.message(), "quantity must be between 1 and 99");
        assert_eq!(fields(&status)[0].0, "quantity");
        assert_eq!(
            refuse(CartError::Refused(CartRefusal::ItemNotFound)).message(),
            "item not found in cart"
        );
        let status = refuse(CartError::ProductNotFound);
        assert_eq!((status.code(), status.message()), (Code::NotFound, "product not found"));
        let status = refuse(CartError::Refused(CartRefusal::VersionMismatch { current: Version(3) }));
        assert_eq!(metadata(&status, "version").as_deref(), Some("3"));
    }
}
