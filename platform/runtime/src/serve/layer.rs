//! What is around every handler.

use std::{
    panic::AssertUnwindSafe,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tonic::{Status, body::Body};
use tower::Layer;

use super::{
    bodies::{Answering, Until},
    ending::Ending,
};
use crate::{Ids, RequestContext, service::Answer};

/// Health and reflection: what streams there goes on until its client or the service ends it, and nothing is lost with it.
const ABOUT_THE_SERVER: &str = "/grpc.";

/// Runs each handler in the context of its request, turns a panic into `INTERNAL`, completes statuses, and knows what is in
/// flight.
#[derive(Debug, Clone)]
pub(super) struct RequestLayer {
    pub(super) ids: Ids,
    pub(super) complete: fn(Status) -> Status,
    pub(super) ending: Ending,
}

impl<S> Layer<S> for RequestLayer {
    type Service = WithContext<S>;

    fn layer(&self, inner: S) -> WithContext<S> {
        WithContext {
            inner,
            layer: self.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct WithContext<S> {
    inner: S,
    layer: RequestLayer,
}

impl<S> tower::Service<Request<Body>> for WithContext<S>
where
    S: tower::Service<Request<Body>, Response = Answer> + Send,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Answer;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Answer, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let RequestLayer { ids, complete, ending } = self.layer.clone();
        let context = RequestContext::from_headers(request.headers(), &ids);
        let path = request.uri().path().to_owned();
        let in_flight = (!path.starts_with(ABOUT_THE_SERVER)).then(|| ending.in_flight.token());
        let request = request.map(|body| Body::new(Until::arrived(body, &ending.late)));
        let handler = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        context
            .scope(async move {
                let Ok(answer) = handler.await else {
                    tracing::error!(call = path, "a handler panicked");
                    return Ok(complete(Status::internal("internal error")).into_http());
                };
                let answer = completed(answer?, complete);
                Ok(answer.map(|body| match in_flight {
                    Some(_) => Body::new(Answering { body, in_flight }),
                    None => Body::new(Until::streamed(body, &ending.stop, complete)),
                }))
            })
            .boxed()
    }
}

/// An answer that failed before its body began has its status in the headers.
fn completed(answer: Answer, complete: fn(Status) -> Status) -> Answer {
    const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
    const STATUS: HeaderName = HeaderName::from_static("grpc-status");
    let headers: &HeaderMap<HeaderValue> = answer.headers();
    let failed = headers.get(STATUS).is_some_and(|code| code != "0");
    if !failed || headers.contains_key(DETAILS) {
        return answer;
    }
    match Status::from_header_map(headers) {
        Some(status) => complete(status).into_http(),
        None => answer,
    }
}
