//! Idempotency keys, from the header or from the body.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};
use proto::{Reason, ids::IdempotencyKey};

use crate::problem::Problem;

/// The name in bodies and in problems.
pub(crate) const FIELD: &str = "idempotency_key";
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The key in the `Idempotency-Key` header. An empty header counts as none.
#[derive(Debug)]
pub(crate) struct HeaderKey(pub(crate) Option<String>);

impl HeaderKey {
    /// The header's key, or else the body's. Refuses a request with neither.
    pub(crate) fn or_required(self, in_body: Option<String>) -> Result<String, Problem> {
        match self.0.or(in_body).filter(|key| !key.is_empty()) {
            Some(key) => checked(key),
            None => Err(Problem::field(
                Reason::MissingIdempotencyKey,
                FIELD,
                "idempotency_key is required",
            )),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for HeaderKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        of(&parts.headers).map(Self)
    }
}

fn of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(malformed()),
        (Some(value), None) if value.is_empty() => Ok(None),
        (Some(value), None) => {
            let key = std::str::from_utf8(value.as_bytes()).map_err(|_| malformed())?;
            checked(key.to_owned()).map(Some)
        }
    }
}

fn checked(key: String) -> Result<String, Problem> {
    let key = IdempotencyKey::new(key).ok_or_else(malformed)?;
    Ok(key.into_string())
}

fn malformed() -> Problem {
    let message = format!("{FIELD} must be {}", IdempotencyKey::RULE);
    Problem::field(Reason::InvalidArgument, FIELD, message)
}
