//! Every failure as a client sees it: `application/problem+json` (RFC 9457).

mod changes;
mod table;

use std::error::Error as _;

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use proto::Reason;
use serde::Serialize;
use tonic::Status;

use changes::PriceChange;
pub use table::{Class, class};

/// Why a request failed. As a response it has its status only; what surrounds the routes shows the rest of it, because
/// that knows the path and the request's id.
#[derive(Debug, Clone)]
pub struct Problem {
    reason: Reason,
    detail: String,
    errors: Vec<FieldError>,
    changes: Option<Vec<PriceChange>>,
}

/// A field of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'static str,
    reason: &'static str,
    error: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a [PriceChange]>,
}

impl Problem {
    /// A problem with a text for people; it must not hold anything internal.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            errors: Vec::new(),
            changes: None,
        }
    }

    /// A problem about which there is no more to say than its title.
    pub fn of(reason: Reason) -> Self {
        Self::new(reason, class(reason).title)
    }

    /// A problem of one field.
    pub(crate) fn field(reason: Reason, field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(reason, message.clone()).with_errors(vec![FieldError {
            field: field.to_owned(),
            message,
        }])
    }

    #[must_use]
    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Calls a field as REST does where gRPC has another name for it.
    #[must_use]
    pub(crate) fn renaming(mut self, grpc: &str, rest: &str) -> Self {
        for error in self.errors.iter_mut().filter(|e| e.field == grpc) {
            rest.clone_into(&mut error.field);
        }
        self
    }

    /// Makes `response`, which this problem was turned into, say all of it.
    pub(crate) fn show(&self, response: &mut Response, path: &str, request_id: &str) {
        let class = class(self.reason);
        let document = Document {
            kind: format!("/docs/errors#{}", self.reason.as_str()),
            title: class.title,
            status: class.status.as_u16(),
            detail: &self.detail,
            instance: path,
            code: class.code,
            reason: self.reason.as_str(),
            error: &self.detail,
            request_id,
            errors: &self.errors,
            changes: self.changes.as_deref(),
        };
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if class.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if class.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        match serde_json::to_vec(&document) {
            Ok(json) => *response.body_mut() = Body::from(json),
            Err(error) => tracing::error!(%error, "a problem could not be written"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = class(self.reason).status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Status> for Problem {
    /// What a service says of a refusal is shown; what anything else says, or a service of its own failure, is not.
    fn from(status: Status) -> Self {
        let named = proto::status::reason(&status);
        let reason = named.unwrap_or_else(|| unnamed(&status));
        if named.is_none() {
            let (code, message) = (status.code(), status.message());
            tracing::warn!(
                ?code,
                message,
                source = status.source(),
                "a call failed without a reason of ours"
            );
        }
        if named.is_none() || class(reason).status.is_server_error() {
            return Self::of(reason);
        }
        let fields = proto::status::fields(&status);
        let errors = fields
            .into_iter()
            .map(|(field, message)| FieldError { field, message })
            .collect();
        let changes = proto::status::metadata(&status, "changes").and_then(|json| changes::read(&json));
        Self {
            reason,
            detail: status.message().to_owned(),
            errors,
            changes,
        }
    }
}

/// The reason of a status without one of ours. One that has a source was made on this side, of a connection that broke:
/// tonic has no better code than `Unknown` for most of those.
fn unnamed(status: &Status) -> Reason {
    let broke = status.code() == tonic::Code::Unknown && status.source().is_some();
    if broke {
        Reason::ServiceUnavailable
    } else {
        proto::status::reason_of_code(status.code())
    }
}

/// The answer where there is no route.
pub(crate) async fn not_found() -> Problem {
    Problem::new(Reason::RouteNotFound, "there is nothing at this path")
}

/// The answer where there is a route, but not for this method.
pub(crate) async fn wrong_method() -> Problem {
    Problem::new(Reason::MethodNotAllowed, "this path does not take this method")
}
