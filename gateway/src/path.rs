//! Path parameters.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use proto::{
    Reason,
    ids::{MAX_PRODUCT_ID, ProductId},
};
use uuid::Uuid;

use crate::problem::Problem;

/// The length of a hyphenated UUID, the only notation accepted.
const UUID_LEN: usize = 36;

/// The product id in a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProductPath(pub(crate) ProductId);

/// The id in a path, unchecked.
#[derive(Debug)]
pub(crate) struct Id(String);

impl Id {
    pub(crate) fn as_sent(&self) -> &str {
        &self.0
    }

    /// In lower case, if the id is a UUID.
    pub(crate) fn uuid(&self) -> Option<String> {
        let uuid = Uuid::try_parse(&self.0).ok().filter(|_| self.0.len() == UUID_LEN)?;
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
            .filter(|id| *id <= MAX_PRODUCT_ID)
            .and_then(ProductId::new)
            .map(Self)
            .ok_or_else(|| {
                let message = format!("product_id must be an integer from 1 to {MAX_PRODUCT_ID}");
                Problem::field(Reason::InvalidProductId, "product_id", message)
            })
    }
}
