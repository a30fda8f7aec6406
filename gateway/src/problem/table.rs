//! The table from reasons to problem types.

use axum::http::StatusCode;
use proto::Reason;

/// The status, code and title of a reason (RFC 9457, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    pub status: StatusCode,
    /// The `code` of the problem, shared by similar reasons.
    pub code: &'static str,
    pub title: &'static str,
}

/// The codes, each with its one status.
mod code {
    use axum::http::StatusCode;

    type Code = (StatusCode, &'static str);

    pub(super) const INVALID_REQUEST: Code = (StatusCode::BAD_REQUEST, "invalid_request");
    pub(super) const INVALID_ARGUMENT: Code = (StatusCode::BAD_REQUEST, "invalid_argument");
    pub(super) const INVALID_PRODUCT_ID: Code = (StatusCode::BAD_REQUEST, "invalid_product_id");
    pub(super) const INVALID_QUANTITY: Code = (StatusCode::BAD_REQUEST, "invalid_quantity");
    pub(super) const MISSING_IDEMPOTENCY_KEY: Code = (StatusCode::BAD_REQUEST, "missing_idempotency_key");
    pub(super) const UNAUTHORIZED: Code = (StatusCode::UNAUTHORIZED, "unauthorized");
    pub(super) const FORBIDDEN: Code = (StatusCode::FORBIDDEN, "forbidden");
    pub(super) const NOT_FOUND: Code = (StatusCode::NOT_FOUND, "not_found");
    pub(super) const METHOD_NOT_ALLOWED: Code = (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    pub(super) const CONFLICT: Code = (StatusCode::CONFLICT, "conflict");
    pub(super) const PRECONDITION_FAILED: Code = (StatusCode::PRECONDITION_FAILED, "precondition_failed");
    pub(super) const REQUEST_TIMEOUT: Code = (StatusCode::REQUEST_TIMEOUT, "request_timeout");
    pub(super) const PAYLOAD_TOO_LARGE: Code = (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large");
    pub(super) const URI_TOO_LONG: Code = (StatusCode::URI_TOO_LONG, "uri_too_long");
    pub(super) const HEADERS_TOO_LARGE: Code = (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large");
    pub(super) const UNSUPPORTED_MEDIA_TYPE: Code = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
    pub(super) const UNPROCESSABLE: Code = (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable");
    pub(super) const RATE_LIMIT_EXCEEDED: Code = (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded");
    pub(super) const INTERNAL_ERROR: Code = (StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
    pub(super) const NOT_IMPLEMENTED: Code = (StatusCode::NOT_IMPLEMENTED, "not_implemented");
    pub(super) const SERVICE_UNAVAILABLE: Code = (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable");
    pub(super) const TIMEOUT: Code = (StatusCode::GATEWAY_TIMEOUT, "timeout");
}

/// `docs/errors.md` has the same rows; a test compares them.
pub fn problem_type(reason: Reason) -> ProblemType {
    use Reason as R;
    let ((status, code), title) = match reason {
        R::InvalidRequest => (code::INVALID_REQUEST, "The request is malformed"),
        R::InvalidArgument => (code::INVALID_ARGUMENT, "A value in the request is not acceptable"),
        R::InvalidProductId => (code::INVALID_PRODUCT_ID, "Not a product id"),
        R::InvalidQuantity => (code::INVALID_QUANTITY, "Not a quantity"),
        R::MissingIdempotencyKey => (code::MISSING_IDEMPOTENCY_KEY, "An idempotency key is required"),
        R::Unauthorized => (code::UNAUTHORIZED, "A valid bearer token is required"),
        R::Forbidden => (code::FORBIDDEN, "Not allowed"),
        R::RouteNotFound => (code::NOT_FOUND, "No such path"),
        R::MethodNotAllowed => (code::METHOD_NOT_ALLOWED, "Wrong method for this path"),
        R::RequestTimeout => (code::REQUEST_TIMEOUT, "The request did not arrive in time"),
        R::PayloadTooLarge => (code::PAYLOAD_TOO_LARGE, "The body is too large"),
        R::UriTooLong => (code::URI_TOO_LONG, "The request line is too long"),
        R::HeadersTooLarge => (code::HEADERS_TOO_LARGE, "The head of the request is too large"),
        R::UnsupportedMediaType => (code::UNSUPPORTED_MEDIA_TYPE, "The body is of the wrong type"),
        R::TransferCodingUnknown => (code::NOT_IMPLEMENTED, "The transfer coding is not known"),
        R::RateLimitExceeded => (code::RATE_LIMIT_EXCEEDED, "Too many requests"),
        R::ProductNotFound => (code::NOT_FOUND, "Product not found"),
        R::ItemNotFound => (code::NOT_FOUND, "Item not found in cart"),
        R::CartFull => (code::CONFLICT, "The cart is full"),
        R::CartVersionMismatch => (code::PRECONDITION_FAILED, "The cart has changed"),
        R::CartChanged => (code::CONFLICT, "The cart has changed since the purchase began"),
        R::CartEmpty => (code::INVALID_REQUEST, "The cart is empty"),
        R::CheckoutInProgress => (code::CONFLICT, "The cart is in another checkout"),
        R::PriceChanged => (code::CONFLICT, "A price has changed"),
        R::ProductUnavailable => (code::CONFLICT, "A product is no longer sold"),
        R::IdempotencyKeyReused => (code::UNPROCESSABLE, "The idempotency key was used for another request"),
        R::CheckoutNotFound => (code::NOT_FOUND, "Checkout not found"),
        R::OutOfStock => (code::CONFLICT, "Out of stock"),
        R::ReservationNotFound => (code::NOT_FOUND, "Reservation not found"),
        R::ReservationReleased => (code::CONFLICT, "The reservation was released"),
        R::ReservationExpired => (code::CONFLICT, "The reservation has expired"),
        R::ReservationConfirmed => (code::CONFLICT, "The reservation was confirmed"),
        R::ReservationMismatch => (code::CONFLICT, "The reservation is for other lines"),
        R::CardDeclined => (code::UNPROCESSABLE, "The card was declined"),
        R::InsufficientFunds => (code::UNPROCESSABLE, "Insufficient funds"),
        R::CardExpired => (code::UNPROCESSABLE, "The card has expired"),
        R::InvalidCvc => (code::UNPROCESSABLE, "The card's security code is wrong"),
        R::InvalidPaymentMethod => (code::UNPROCESSABLE, "No such payment method"),
        R::PaymentNotFound => (code::NOT_FOUND, "Payment not found"),
        R::PaymentCancelled => (code::CONFLICT, "The payment was cancelled"),
        R::PaymentMismatch => (code::CONFLICT, "The payment is for another amount or method"),
        R::OrderNotFound => (code::NOT_FOUND, "Order not found"),
        R::Internal => (code::INTERNAL_ERROR, "Internal error"),
        R::ServiceUnavailable => (code::SERVICE_UNAVAILABLE, "Temporarily unavailable, try again"),
        R::Timeout => (code::TIMEOUT, "No answer in time"),
    };
    ProblemType { status, code, title }
}
