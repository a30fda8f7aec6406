//! All reasons for which a call can be refused, each with its gRPC code and its facts.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tonic::Code;

use crate::Fact;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident $(, $fact:ident)*;)*) => {
        /// The exact reason of an error: `google.rpc.ErrorInfo.reason` in gRPC, `reason` in REST.
        /// `docs/errors.md` explains each reason and what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The gRPC status code of this reason.
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code),* }
            }

            /// The possible facts of this reason. [`crate::status::Refusal::with`] accepts no others.
            pub const fn facts(self) -> &'static [Fact] {
                match self { $(Self::$variant => &[$(Fact::$fact),*]),* }
            }

            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

/// Serializes the name.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| de::Error::custom(format!("{name:?} is no reason")))
    }
}

reasons! {
    // The request itself.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument;
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument;
    InvalidProductId = "INVALID_PRODUCT_ID", InvalidArgument;
    InvalidQuantity = "INVALID_QUANTITY", InvalidArgument;
    MissingIdempotencyKey = "MISSING_IDEMPOTENCY_KEY", InvalidArgument;
    Unauthorized = "UNAUTHORIZED", Unauthenticated;
    Forbidden = "FORBIDDEN", PermissionDenied;
    RouteNotFound = "ROUTE_NOT_FOUND", NotFound;
    MethodNotAllowed = "METHOD_NOT_ALLOWED", Unimplemented;
    RequestTimeout = "REQUEST_TIMEOUT", DeadlineExceeded;
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", ResourceExhausted;
    UriTooLong = "URI_TOO_LONG", InvalidArgument;
    HeadersTooLarge = "HEADERS_TOO_LARGE", ResourceExhausted;
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", InvalidArgument;
    TransferCodingUnknown = "TRANSFER_CODING_UNKNOWN", Unimplemented;
    RateLimitExceeded = "RATE_LIMIT_EXCEEDED", ResourceExhausted;
    // Catalogue and cart.
    ProductNotFound = "PRODUCT_NOT_FOUND", NotFound;
    ItemNotFound = "ITEM_NOT_FOUND", NotFound;
    CartFull = "CART_FULL", FailedPrecondition, Max;
    CartVersionMismatch = "CART_VERSION_MISMATCH", FailedPrecondition, Version;
    CartChanged = "CART_CHANGED", FailedPrecondition;
    // Checkout.
    CartEmpty = "CART_EMPTY", FailedPrecondition;
    CheckoutInProgress = "CHECKOUT_IN_PROGRESS", FailedPrecondition, CheckoutId;
    PriceChanged = "PRICE_CHANGED", FailedPrecondition, Changes, Total;
    ProductUnavailable = "PRODUCT_UNAVAILABLE", FailedPrecondition, ProductIds;
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", FailedPrecondition;
    CheckoutNotFound = "CHECKOUT_NOT_FOUND", NotFound;
    // Inventory.
    OutOfStock = "OUT_OF_STOCK", FailedPrecondition, Shortages;
    ReservationNotFound = "RESERVATION_NOT_FOUND", NotFound;
    ReservationReleased = "RESERVATION_RELEASED", FailedPrecondition;
    ReservationExpired = "RESERVATION_EXPIRED", FailedPrecondition;
    ReservationConfirmed = "RESERVATION_CONFIRMED", FailedPrecondition;
    ReservationMismatch = "RESERVATION_MISMATCH", FailedPrecondition;
    // Payment.
    CardDeclined = "CARD_DECLINED", FailedPrecondition;
    InsufficientFunds = "INSUFFICIENT_FUNDS", FailedPrecondition;
    CardExpired = "CARD_EXPIRED", FailedPrecondition;
    InvalidCvc = "INVALID_CVC", FailedPrecondition;
    InvalidPaymentMethod = "INVALID_PAYMENT_METHOD", FailedPrecondition;
    PaymentNotFound = "PAYMENT_NOT_FOUND", NotFound;
    PaymentCancelled = "PAYMENT_CANCELLED", FailedPrecondition;
    PaymentMismatch = "PAYMENT_MISMATCH", FailedPrecondition;
    // Orders.
    OrderNotFound = "ORDER_NOT_FOUND", NotFound;
    // Failures of the shop.
    Internal = "INTERNAL", Internal;
    ServiceUnavailable = "SERVICE_UNAVAILABLE", Unavailable;
    Timeout = "TIMEOUT", DeadlineExceeded;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_reasons_are_one_to_one() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("NO_SUCH_REASON"), None);
    }
}
