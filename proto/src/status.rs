//! Refusals to gRPC statuses with exactly one `ErrorInfo` each, and back.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{Fact, Reason};

/// `google.rpc.ErrorInfo.domain` of every error made here.
pub const DOMAIN: &str = "cartwright";

/// A refusal for a client. The message is for people and must not contain internal details.
#[derive(Debug, Clone)]
pub struct Refusal {
    reason: Reason,
    message: String,
    metadata: HashMap<String, String>,
    fields: Vec<(String, String)>,
}

impl Refusal {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            fields: Vec::new(),
        }
    }

    /// An invalid field of the request: `INVALID_ARGUMENT`, with a `BadRequest` violation.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidArgument, message).at(field)
    }

    /// Names the invalid field of the request.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        self.fields.push((field.to_owned(), self.message.clone()));
        self
    }

    /// Adds a fact to `ErrorInfo.metadata`. It must be one of [`Reason::facts`], because the other side reads only
    /// these; a debug build panics otherwise.
    #[must_use]
    pub fn with(mut self, fact: Fact, value: impl Into<String>) -> Self {
        debug_assert!(
            self.reason.facts().contains(&fact),
            "{fact:?} does not go with {:?}: add it to its row in proto/src/reason.rs",
            self.reason
        );
        self.metadata.insert(fact.key().to_owned(), value.into());
        self
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(refusal.reason.as_str(), DOMAIN, refusal.metadata);
        for (field, message) in refusal.fields {
            details.add_bad_request_violation(field, message);
        }
        Self::with_error_details(refusal.reason.code(), refusal.message, details)
    }
}

/// The answer to an internal failure, without details. The caller logs the failure.
pub fn internal() -> Status {
    Refusal::new(Reason::Internal, "internal error").into()
}

/// The answer if a dependency is unavailable: the client may try again.
pub fn unavailable() -> Status {
    Refusal::new(Reason::ServiceUnavailable, "temporarily unavailable, try again").into()
}

/// Adds a reason and a message to a status of the transport (for an undecodable message, or an unknown method).
pub fn add_status_details(status: Status) -> Status {
    if status.code() == Code::Ok || reason(&status).is_some() {
        return status;
    }
    let (reason, message) = match status.code() {
        Code::Internal if status.message().contains("decode") => (
            Reason::InvalidRequest,
            "the request is not a valid message of this method",
        ),
        Code::OutOfRange => (Reason::PayloadTooLarge, "the message is too large"),
        Code::Unimplemented => (Reason::MethodNotAllowed, "there is no such method here"),
        // The health service was asked for an unknown service.
        Code::NotFound => (Reason::RouteNotFound, "there is no such service here"),
        Code::Cancelled | Code::DeadlineExceeded => (Reason::Timeout, "no answer within the deadline"),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => (reason_of_code(status.code()), "the request could not be handled"),
    };
    Refusal::new(reason, message).into()
}

/// The reason for which a peer refused a call. `None` if the status is no refusal of a service (a lost connection, a
/// deadline, an answer of a proxy), or if the outcome is unknown.
pub fn refused(status: &Status) -> Option<Reason> {
    let unknown = [Reason::Internal, Reason::ServiceUnavailable, Reason::Timeout];
    reason(status).filter(|reason| !unknown.contains(reason))
}

/// The reason in a status of a service of the shop.
pub fn reason(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain == DOMAIN {
        Reason::parse(&info.reason)
    } else {
        None
    }
}

/// The facts of a status that belong to its reason. Others come from a later version, and are left out.
pub fn facts(status: &Status) -> Vec<(Fact, String)> {
    let Some(mut info) = status.get_details_error_info() else {
        return Vec::new();
    };
    let facts = Reason::parse(&info.reason).map_or(&[][..], Reason::facts);
    facts
        .iter()
        .filter_map(|fact| Some((*fact, info.metadata.remove(fact.key())?)))
        .collect()
}

/// A value of the status' `ErrorInfo.metadata`.
pub fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.remove(key)
}

/// The invalid fields of a status, each with its message.
pub fn fields(status: &Status) -> Vec<(String, String)> {
    let violations = status
        .get_details_bad_request()
        .map(|b| b.field_violations)
        .unwrap_or_default();
    violations.into_iter().map(|v| (v.field, v.description)).collect()
}

/// The reason for a status that has none.
pub fn reason_of_code(code: Code) -> Reason {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::AlreadyExists => {
            Reason::InvalidArgument
        }
        Code::Unavailable | Code::Aborted | Code::ResourceExhausted => Reason::ServiceUnavailable,
        Code::DeadlineExceeded | Code::Cancelled => Reason::Timeout,
        Code::Unauthenticated => Reason::Unauthorized,
        Code::PermissionDenied => Reason::Forbidden,
        Code::Ok | Code::Unknown | Code::NotFound | Code::Unimplemented | Code::Internal | Code::DataLoss => {
            Reason::Internal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_back_from_its_status() {
        let status: Status = Refusal::new(Reason::CartFull, "too many")
            .at("quantity")
            .with(Fact::Max, "50")
            .into();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(refused(&status), Some(Reason::CartFull));
        assert_eq!(metadata(&status, "max").as_deref(), Some("50"));
        assert_eq!(facts(&status), [(Fact::Max, "50".to_owned())]);
        assert_eq!(fields(&status), [("quantity".to_owned(), "too many".to_owned())]);
    }

    #[test]
    #[should_panic(expected = "does not go with CartEmpty")]
    fn a_fact_that_the_reason_does_not_have_panics_in_a_debug_build() {
        let _ = Refusal::new(Reason::CartEmpty, "cart is empty").with(Fact::Max, "50");
    }

    #[test]
    fn a_fact_of_a_later_version_is_left_out() {
        let mut details = ErrorDetails::new();
        let metadata = [("max", "50"), ("later", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        details.set_error_info("CART_FULL", DOMAIN, HashMap::from(metadata));
        let status = Status::with_error_details(Code::FailedPrecondition, "full", details);
        assert_eq!(facts(&status), [(Fact::Max, "50".to_owned())]);
    }

    #[test]
    fn an_unknown_outcome_is_not_a_refusal() {
        let statuses = [
            internal(),
            unavailable(),
            Status::cancelled("Timeout expired"),
            Status::unknown("transport error"),
            Status::deadline_exceeded("late"),
            Status::not_found("of a proxy"),
        ];
        for status in statuses {
            assert_eq!(refused(&status), None, "{status:?}");
        }
    }
}
