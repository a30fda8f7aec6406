//! Every failure as a client sees it: `application/problem+json` (RFC 9457).

mod facts;
mod table;

use std::error::Error as _;

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use proto::Reason;
use serde::Serialize;
use tonic::Status;

use facts::Facts;
pub use table::{Class, class};

/// Why a request failed. As a response it has its status only; what surrounds the routes shows the rest of it, because
/// that knows the path and the request's id.
#[derive(Debug, Clone)]
pub struct Problem {
    reason: Reason,
    detail: String,
    errors: Vec<FieldError>,
    facts: Option<Box<Facts>>,
    /// What would have been taken, as a header says it.
    accepts: Option<(HeaderName, &'static str)>,
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
    #[serde(flatten)]
    facts: Option<&'a Facts>,
}

impl Problem {
    /// A problem with a text for people; it must not hold anything internal.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            errors: Vec::new(),
            facts: None,
            accepts: None,
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

    /// Names what would have been taken.
    #[must_use]
    pub(crate) fn accepting(mut self, name: HeaderName, value: &'static str) -> Self {
        self.accepts = Some((name, value));
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
        response.headers_mut().remove(CONTENT_LENGTH);
        self.write_to(response.headers_mut());
        *response.body_mut() = Body::from(self.document(path, request_id));
    }

    pub(crate) fn status(&self) -> StatusCode {
        class(self.reason).status
    }

    /// The body, in JSON.
    pub(crate) fn document(&self, path: &str, request_id: &str) -> Vec<u8> {
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
            facts: self.facts.as_deref(),
        };
        serde_json::to_vec(&document)
            .inspect_err(|error| tracing::error!(%error, "a problem could not be written"))
            .unwrap_or_default()
    }

    /// The headers that belong to it.
    pub(crate) fn write_to(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let status = self.status();
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some((name, value)) = &self.accepts {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // The rest of the request may still come, so that nothing can follow it.
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(facts) = &self.facts {
            facts.write_to(headers);
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
        Self {
            reason,
            detail: status.message().to_owned(),
            errors,
            facts: Facts::of(reason, &status).map(Box::new),
            accepts: None,
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
