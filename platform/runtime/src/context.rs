//! The context that travels with a request through every service and into its events.

use std::future::Future;

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Span, field::Empty};
use uuid::Uuid;

use crate::Ids;

pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT_HEADER: HeaderName = HeaderName::from_static("traceparent");
/// The longest accepted request id, in bytes.
const MAX_REQUEST_ID: usize = 128;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The id of a request in all logs, and its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    pub request_id: String,
    pub traceparent: String,
}

impl RequestContext {
    /// Reads the context from headers. Missing or malformed parts are generated.
    pub fn from_headers(headers: &HeaderMap, ids: &Ids) -> Self {
        let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let request_id = text(REQUEST_ID_HEADER).filter(|id| is_request_id(id));
        let traceparent = text(TRACEPARENT_HEADER).filter(|parent| is_traceparent(parent));
        Self {
            request_id: request_id.map_or_else(|| ids.next().to_string(), str::to_owned),
            traceparent: traceparent.map_or_else(|| new_traceparent(ids), str::to_owned),
        }
    }

    /// A new context, for work without a request.
    pub fn new(ids: &Ids) -> Self {
        Self::from_headers(&HeaderMap::new(), ids)
    }

    /// The context of the current task.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `work` in this context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The span of this request. [`record_subject`](crate::telemetry::record_subject) fills in `subject`.
    pub fn span(&self) -> Span {
        // The error level keeps the span at any log level.
        tracing::error_span!(
            "request",
            request_id = self.request_id,
            trace_id = trace_id(&self.traceparent),
            subject = Empty
        )
    }

    pub(crate) fn write_to(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (REQUEST_ID_HEADER, &self.request_id),
            (TRACEPARENT_HEADER, &self.traceparent),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Whether a foreign request id is accepted: printable ASCII, not empty and not too long.
pub fn is_request_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// The trace id of a well-formed `traceparent`.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    is_traceparent(traceparent).then(|| traceparent.split('-').nth(1))?
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, with ids that are not all zero.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, len| part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let live = |part: &str| part.bytes().any(|b| b != b'0');
    let parts: Vec<_> = text.split('-').collect();
    matches!(parts[..], ["00", trace, span, flags]
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && live(trace) && live(span))
}

fn new_traceparent(ids: &Ids) -> String {
    let trace: Uuid = ids.next();
    let (_, span) = ids.next().as_u64_pair();
    format!("00-{}-{span:016x}-01", trace.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(request_id: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID_HEADER, HeaderValue::from_bytes(request_id).unwrap());
        RequestContext::from_headers(&headers, &Ids::random()).request_id
    }

    #[test]
    fn a_request_id_is_kept_when_it_is_printable_and_short() {
        assert_eq!(with(b"abc-123"), "abc-123");
        assert_ne!(with(b""), "");
        assert_ne!(with(b"caf\xc3\xa9"), "café");
        assert_eq!(with("x".repeat(128).as_bytes()).len(), 128);
        assert_ne!(with("x".repeat(129).as_bytes()).len(), 129);
    }

    #[test]
    fn a_generated_traceparent_is_well_formed() {
        assert!(is_traceparent(&RequestContext::new(&Ids::random()).traceparent));
        assert!(!is_traceparent(
            "00-00000000000000000000000000000000-0000000000000001-01"
        ));
        assert!(!is_traceparent("garbage"));
    }

    #[test]
    fn the_id_of_a_trace_is_read_from_its_parent() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(parent), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(trace_id("00-garbage-00f067aa0ba902b7-01"), None);
    }
}
