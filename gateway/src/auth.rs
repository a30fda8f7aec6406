//! Who is calling.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue,
        header::{AUTHORIZATION, CACHE_CONTROL},
        request::Parts,
    },
    response::Response,
};
use proto::{Reason, ids::UserId};

use crate::{problem::Problem, shared::Shared};

/// The caller, proved by a bearer token. It comes first in a handler's arguments: nothing is said about a request, and
/// no body is read, before it is known who asks.
#[derive(Debug, Clone)]
pub(crate) struct User(pub(crate) UserId);

impl User {
    /// The id as requests to the services carry it.
    pub(crate) fn into_id(self) -> String {
        self.0.into_string()
    }
}

impl FromRequestParts<Arc<Shared>> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let refused = |detail: &str| Problem::new(Reason::Unauthorized, detail);
        let token = bearer(&parts.headers).ok_or_else(|| refused("a bearer token is required"))?;
        let user = shared.keys.verify(&shared.parties, token, shared.clock.now());
        user.map(Self).map_err(|invalid| refused(&invalid.to_string()))
    }
}

/// The token, if there is exactly one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What belongs to one customer is in no cache.
pub(crate) async fn not_stored(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
