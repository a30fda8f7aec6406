//! The outermost layer: request id, panics, the body of problems, and a log line for each request that reaches a route.

use std::{panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{Request, State},
    http::HeaderValue,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use proto::Reason;
use runtime::{Ids, REQUEST_ID_HEADER, RequestContext, telemetry::millis};
use tracing::Instrument;

use crate::{body::coding, problem::Problem};

/// Logged at debug level: probes call it every few seconds.
const HEALTH: &str = "/health";

/// Runs the inner layers in the context of the request. Calls to services carry this context.
pub(crate) async fn scope(State(ids): State<Ids>, request: Request, next: Next) -> Response {
    let context = RequestContext::from_headers(request.headers(), &ids);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (span, began) = (context.span(), Instant::now());
    let inner = async {
        match coding::check_transfer(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let handler = context.clone().scope(inner).instrument(span.clone());
    let handler = AssertUnwindSafe(handler).catch_unwind();
    let mut response = handler.await.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!(%method, path = uri.path(), "a handler panicked"));
        Problem::of(Reason::Internal).into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.write_response(&mut response, uri.path(), &context.request_id);
    }
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    let (path, status, took_ms) = (uri.path(), response.status().as_u16(), millis(began.elapsed()));
    // In the span's scope, not by `parent`: the JSON log lists only entered spans.
    span.in_scope(|| {
        if path.starts_with(HEALTH) {
            tracing::debug!(%method, path, status, took_ms, "answered");
        } else {
            tracing::info!(%method, path, status, took_ms, "answered");
        }
    });
    response
}
