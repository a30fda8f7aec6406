//! Refuses transfer codings other than `chunked`, and all content codings.

use axum::http::{
    HeaderMap,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, TRANSFER_ENCODING},
};
use proto::Reason;

use crate::problem::Problem;

/// RFC 9112, 6.1: 501 for a transfer coding that the server does not decode.
pub(crate) fn check_transfer(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Problem::new(
            Reason::TransferCodingUnknown,
            "the only transfer coding that is taken is chunked",
        )),
    }
}

/// RFC 9110, 15.5.16: 415 for a content coding, with the accepted one.
pub(super) fn check_content(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let refused = Problem::new(Reason::UnsupportedMediaType, "the body must have no content coding");
    Err(refused.accepting(ACCEPT_ENCODING, "identity"))
}
