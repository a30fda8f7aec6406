//! What went wrong, as gRPC says it.

use proto::{
    Fact, Reason,
    status::{Refusal, internal, unavailable},
};
use runtime::telemetry::chain;
use storage::StoreError;
use tonic::Status;

use crate::{app::CartError, domain::Refused};

/// The answer to a use case that failed. Failures inside are logged here and nowhere else.
pub(super) fn refuse(error: CartError) -> Status {
    match error {
        CartError::Refused(why) => refused(why).into(),
        CartError::ProductNotFound => Refusal::new(Reason::ProductNotFound, "product not found")
            .at("product_id")
            .into(),
        CartError::ProductUnknown(source) => {
            tracing::error!(error = chain(source.as_ref()), "the product service could not be asked");
            unavailable()
        }
        CartError::HoldRefused => Refusal::new(
            Reason::CartChanged,
            "pieces of this purchase are in another checkout, or were taken out of the cart",
        )
        .into(),
        CartError::Contended => {
            tracing::error!("a cart is being changed by others all the time");
            unavailable()
        }
        CartError::Store(error @ StoreError::Unavailable(_)) => {
            tracing::error!(error = chain(&error), "carts cannot be reached");
            unavailable()
        }
        CartError::Store(error @ (StoreError::Conflict | StoreError::Corrupt(_))) => {
            tracing::error!(error = chain(&error), "a cart could not be read or written");
            internal()
        }
    }
}

pub(super) fn refused(why: Refused) -> Refusal {
    match why {
        Refused::Full { max } => Refusal::new(Reason::CartFull, format!("a cart holds at most {max} products"))
            .with(Fact::Max, max.to_string()),
        Refused::QuantityOutOfRange { max } => {
            Refusal::new(Reason::InvalidQuantity, format!("quantity must be between 1 and {max}")).at("quantity")
        }
        Refused::ItemNotFound => Refusal::new(Reason::ItemNotFound, "item not found in cart").at("product_id"),
        Refused::VersionMismatch { current } => {
            Refusal::new(Reason::CartVersionMismatch, "the cart was changed in the meantime")
                .with(Fact::Version, current.0.to_string())
        }
        Refused::Reused => Refusal::new(
            Reason::IdempotencyKeyReused,
            "this idempotency key, or the id of this call, was used with another request",
        ),
        Refused::Total(error) => Refusal::field("quantity", format!("the total cannot be computed: {error}")),
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
    fn each_failure_has_its_reason_and_says_nothing_internal() {
        let secret = || StoreError::unavailable("10.0.0.1 said no");
        let cases = [
            (CartError::Refused(Refused::Full { max: 50 }), Reason::CartFull),
            (
                CartError::Refused(Refused::QuantityOutOfRange { max: 99 }),
                Reason::InvalidQuantity,
            ),
            (CartError::Refused(Refused::ItemNotFound), Reason::ItemNotFound),
            (
                CartError::Refused(Refused::VersionMismatch { current: Version(3) }),
                Reason::CartVersionMismatch,
            ),
            (
                CartError::Refused(Refused::Total(MoneyError::Overflow)),
                Reason::InvalidArgument,
            ),
            (CartError::Refused(Refused::Reused), Reason::IdempotencyKeyReused),
            (CartError::HoldRefused, Reason::CartChanged),
            (CartError::ProductNotFound, Reason::ProductNotFound),
            (
                CartError::ProductUnknown("10.0.0.1 is away".into()),
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
    fn fixed_texts_are_those_of_the_contract() {
        let status = refuse(CartError::Refused(Refused::QuantityOutOfRange { max: 99 }));
        assert_eq!(status.message(), "quantity must be between 1 and 99");
        assert_eq!(fields(&status)[0].0, "quantity");
        assert_eq!(
            refuse(CartError::Refused(Refused::ItemNotFound)).message(),
            "item not found in cart"
        );
        let status = refuse(CartError::ProductNotFound);
        assert_eq!((status.code(), status.message()), (Code::NotFound, "product not found"));
        let status = refuse(CartError::Refused(Refused::VersionMismatch { current: Version(3) }));
        assert_eq!(metadata(&status, "version").as_deref(), Some("3"));
    }
}
