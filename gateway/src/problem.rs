//! Errors as clients see them: `application/problem+json` (RFC 9457).

mod extension_members;
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

use extension_members::ExtensionMembers;
pub use table::{ProblemType, problem_type};

/// Why a request failed. As a response it has only its status; the outermost layer (`request.rs`) writes the rest,
/// because it knows the path and the request id.
#[derive(Debug, Clone)]
pub struct Problem {
    reason: Reason,
    detail: String,
    errors: Vec<FieldError>,
    members: Option<Box<ExtensionMembers>>,
    /// A header that names what the server accepts.
    accepts: Option<(HeaderName, &'static str)>,
}

/// An invalid field of the request.
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
    members: Option<&'a ExtensionMembers>,
}

impl Problem {
    /// A problem with a text for clients; it must not contain internals.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            errors: Vec::new(),
            members: None,
            accepts: None,
        }
    }

    /// A problem whose text is its title.
    pub fn of(reason: Reason) -> Self {
        Self::new(reason, problem_type(reason).title)
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

    /// Adds a header that names what the server accepts.
    #[must_use]
    pub(crate) fn accepting(mut self, name: HeaderName, value: &'static str) -> Self {
        self.accepts = Some((name, value));
        self
    }

    /// Renames a field whose name in REST differs from that in gRPC.
    #[must_use]
    pub(crate) fn renaming(mut self, grpc: &str, rest: &str) -> Self {
        for error in self.errors.iter_mut().filter(|e| e.field == grpc) {
            rest.clone_into(&mut error.field);
        }
        self
    }

    /// Writes headers and body into `response`, which this problem was converted to.
    pub(crate) fn write_response(&self, response: &mut Response, path: &str, request_id: &str) {
        response.headers_mut().remove(CONTENT_LENGTH);
        self.write_headers(response.headers_mut());
        *response.body_mut() = Body::from(self.document(path, request_id));
    }

    pub(crate) fn status(&self) -> StatusCode {
        problem_type(self.reason).status
    }

    pub(crate) fn document(&self, path: &str, request_id: &str) -> Vec<u8> {
        let problem_type = problem_type(self.reason);
        let document = Document {
            kind: format!("/docs/errors#{}", self.reason.as_str()),
            title: problem_type.title,
            status: problem_type.status.as_u16(),
            detail: &self.detail,
            instance: path,
            code: problem_type.code,
            reason: self.reason.as_str(),
            error: &self.detail,
            request_id,
            errors: &self.errors,
            members: self.members.as_deref(),
        };
        serde_json::to_vec(&document)
            .inspect_err(|error| tracing::error!(%error, "a problem could not be written"))
            .unwrap_or_default()
    }

    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
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
        // The rest of the request may still arrive, so the connection cannot be reused.
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(members) = &self.members {
            members.write_headers(headers);
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = problem_type(self.reason).status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Status> for Problem {
    /// Shows the text of a service's refusal. Hides the text of a service's failure and of any other status.
    fn from(status: Status) -> Self {
        let known = proto::status::reason(&status);
        let reason = known.unwrap_or_else(|| reason_without_info(&status));
        if known.is_none() {
            let (code, message) = (status.code(), status.message());
            tracing::warn!(
                ?code,
                message,
                source = status.source(),
                "a call failed without a known reason"
            );
        }
        if known.is_none() || problem_type(reason).status.is_server_error() {
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
            members: ExtensionMembers::of(reason, &status).map(Box::new),
            accepts: None,
        }
    }
}

/// The reason of a status that names none of ours. An `Unknown` with a source was made here, when a connection broke:
/// tonic has no better code for most of those.
fn reason_without_info(status: &Status) -> Reason {
    let broke = status.code() == tonic::Code::Unknown && status.source().is_some();
    if broke {
        Reason::ServiceUnavailable
    } else {
        proto::status::reason_of_code(status.code())
    }
}

pub(crate) async fn not_found() -> Problem {
    Problem::new(Reason::RouteNotFound, "there is nothing at this path")
}

pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(Reason::MethodNotAllowed, "this path does not take this method")
}
