//! What happens to every request: it gets its id, its panic is caught, and its problem is shown.

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

/// Probes ask for this every few seconds.
const HEALTH: &str = "/health";

/// Runs everything else in the context of the request, which peers get too.
pub(crate) async fn scope(State(ids): State<Ids>, request: Request, next: Next) -> Response {
    let context = RequestContext::from_headers(request.headers(), &ids);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (span, began) = (context.span(), Instant::now());
    let answered = async {
        match coding::check(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let handler = context.clone().scope(answered).instrument(span.clone());
    let handler = AssertUnwindSafe(handler).catch_unwind();
    let mut response = handler.await.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!(%method, path = uri.path(), "a handler panicked"));
        Problem::of(Reason::Internal).into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.show(&mut response, uri.path(), &context.request_id);
    }
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    let (path, status, took_ms) = (uri.path(), response.status().as_u16(), millis(began.elapsed()));
    // Not by `parent`: a line of JSON lists the spans that are entered.
    span.in_scope(|| {
        if path.starts_with(HEALTH) {
            tracing::debug!(%method, path, status, took_ms, "answered");
        } else {
            tracing::info!(%method, path, status, took_ms, "answered");
        }
    });
    response
}
