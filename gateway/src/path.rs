//! Path parameters.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use proto::{
    Reason, convert,
    ids::{MAX_PRODUCT_ID, ProductId},
};

use crate::problem::Problem;

/// The product id in a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProductPath(pub(crate) ProductId);

/// What a product id must be in a path or in a body; `convert::product_id` has the range.
pub(crate) fn product_id_rule() -> String {
    format!("product_id must be an integer from 1 to {MAX_PRODUCT_ID}")
}

/// The id in a path, unchecked.
#[derive(Debug)]
pub(crate) struct Id(String);

impl Id {
    pub(crate) fn as_sent(&self) -> &str {
        &self.0
    }

    /// In lower case, if the id is a UUID.
    pub(crate) fn uuid(&self) -> Option<String> {
        let uuid = convert::uuid("id", &self.0).ok()?;
        Some(uuid.hyphenated().to_string())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| {
            Problem::new(
                Reason::InvalidArgument,
                "the path is not valid: its escapes are not UTF-8",
            )
        })?;
        Ok(Self(id))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ProductPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = Id::from_request_parts(parts, state).await.ok();
        let digits = id.filter(|id| id.0.bytes().all(|b| b.is_ascii_digit()));
        digits
            .and_then(|id| id.0.parse().ok())
            .and_then(|id| convert::product_id("product_id", id).ok())
            .map(Self)
            .ok_or_else(|| Problem::field(Reason::InvalidProductId, "product_id", product_id_rule()))
    }
}
