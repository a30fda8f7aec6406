//! Authentication by bearer token.

use axum::{
    http::{
        HeaderMap, HeaderValue,
        header::{AUTHORIZATION, CACHE_CONTROL},
    },
    response::Response,
};
use proto::{Reason, ids::UserId};

use crate::{problem::Problem, shared::Shared};

/// The user of the request's bearer token.
pub(crate) fn authenticate(headers: &HeaderMap, shared: &Shared) -> Result<UserId, Problem> {
    let refused = |detail: &str| Problem::new(Reason::Unauthorized, detail);
    let token = bearer_token(headers).ok_or_else(|| refused("a bearer token is required"))?;
    let user = shared.keys.verify(&shared.expected_claims, token, shared.clock.now());
    user.map_err(|invalid| refused(&invalid.to_string()))
}

/// The token, if there is exactly one.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Forbids caches to store a customer's data.
pub(crate) async fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
