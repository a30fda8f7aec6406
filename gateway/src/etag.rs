//! Cart versions as strong entity tags.

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, header::IF_MATCH, request::Parts},
};
use proto::Reason;

use crate::problem::Problem;

/// The version in `If-Match`; `None` if any version will do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpectedVersion(pub(crate) Option<i64>);

/// The tag of version 3 is `"3"`.
pub(crate) fn tag(version: i64) -> String {
    format!("\"{version}\"")
}

impl<S: Send + Sync> FromRequestParts<S> for ExpectedVersion {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IF_MATCH).iter();
        let mismatch = "If-Match is not the ETag of a cart: one strong tag such as \"3\" is";
        match (values.next(), values.next()) {
            (None, _) => Some(Self(None)),
            (Some(any), None) if any == "*" => Some(Self(None)),
            (Some(tag), None) => version(tag).map(|version| Self(Some(version))),
            (Some(_), Some(_)) => None,
        }
        .ok_or_else(|| Problem::new(Reason::CartVersionMismatch, mismatch))
    }
}

/// The version of a tag; `None` for a tag that no cart has: weak, malformed, or a list.
fn version(value: &HeaderValue) -> Option<i64> {
    let text = value.to_str().ok()?;
    let version = text.trim_matches('"').parse().ok().filter(|version| *version >= 0)?;
    (tag(version) == text).then_some(version)
}
