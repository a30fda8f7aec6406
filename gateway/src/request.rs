//! What happens to every request: it gets its id, its panic is caught, and its problem is shown.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    http::HeaderValue,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use proto::Reason;
use runtime::{Ids, REQUEST_ID_HEADER, RequestContext};
use tracing::Instrument;

use crate::{body::coding, problem::Problem};

/// Runs everything else in the context of the request, which peers get too.
pub(crate) async fn scope(State(ids): State<Ids>, request: Request, next: Next) -> Response {
    let context = RequestContext::from_headers(request.headers(), &ids);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    // A span of this level is there whatever the log's level is.
    let span = tracing::error_span!("request", request_id = context.request_id);
    let answered = async {
        match coding::check(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let handler = context.clone().scope(answered).instrument(span.clone());
    let handler = AssertUnwindSafe(handler).catch_unwind();
    let mut response = handler.await.unwrap_or_else(|_| {
        tracing::error!(parent: &span, %method, path = uri.path(), "a handler panicked");
        Problem::of(Reason::Internal).into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.show(&mut response, uri.path(), &context.request_id);
    }
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    let status = response.status().as_u16();
    tracing::debug!(parent: &span, %method, path = uri.path(), status, "answered");
    response
}
