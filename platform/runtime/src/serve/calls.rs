//! Dispatches gRPC calls to handlers.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt;
use tracing::Instrument;

use super::{
    bodies::{AnswerBody, CancellableBody, RequestBody},
    monitor::{CallKind, ConnectionMonitor},
    shutdown::Shutdown,
};
use crate::{Ids, RequestContext, channel::grpc_timeout, deadlines::HANDLER, service::GrpcResponse, telemetry::millis};

/// Health and reflection. Their streams have no natural end, and ending one loses nothing.
const GRPC_INFRASTRUCTURE: &str = "/grpc.";
/// Prefixes of read-only methods.
const READ_ONLY_PREFIXES: [&str; 3] = ["Get", "List", "BatchGet"];

/// What all calls to a service need.
pub(super) struct Dispatcher {
    pub(super) routes: Routes,
    pub(super) ids: Ids,
    pub(super) add_status_details: fn(Status) -> Status,
    pub(super) shutdown: Shutdown,
}

/// The calls of one connection. Runs each handler in its request's context and deadline, turns a panic into `INTERNAL`,
/// adds details to statuses, and tracks calls in flight.
pub(super) struct CallService<I> {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) monitor: ConnectionMonitor,
    /// The connection's address, which handlers find in their request.
    pub(super) info: I,
}

impl<I: Clone + Send + Sync + 'static> hyper::service::Service<Request<Incoming>> for CallService<I> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        let kind = if path.starts_with(GRPC_INFRASTRUCTURE) {
            CallKind::Stream
        } else {
            CallKind::Work
        };
        let may_be_withheld = kind == CallKind::Stream || is_read_only(path);
        let call = self.monitor.call(kind);
        request.extensions_mut().insert(self.info.clone());
        let context = RequestContext::from_headers(request.headers(), &self.dispatcher.ids);
        let answer = answer(self.dispatcher.clone(), self.monitor.clone(), kind, request).instrument(context.span());
        let (monitor, add_status_details) = (self.monitor.clone(), self.dispatcher.add_status_details);
        context
            .scope(answer.map(move |(answer, in_flight)| {
                Ok(answer.map(|body| AnswerBody {
                    body,
                    may_be_withheld,
                    in_flight,
                    _call: call,
                    monitor,
                    add_status_details,
                }))
            }))
            .boxed()
    }
}

/// Whether the method is read-only, so that the call can be repeated and its answer withheld. The answer to a change is
/// always sent, whatever memory it takes: a cart with its holds may exceed 64 KiB.
fn is_read_only(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    READ_ONLY_PREFIXES.iter().any(|prefix| method.starts_with(prefix))
}

/// Runs the handler. Returns the answer, and its token among the calls in flight.
async fn answer(
    dispatcher: Arc<Dispatcher>,
    monitor: ConnectionMonitor,
    kind: CallKind,
    request: Request<Incoming>,
) -> (GrpcResponse, Option<TaskTrackerToken>) {
    let Dispatcher {
        shutdown,
        add_status_details,
        ..
    } = &*dispatcher;
    let in_flight = (kind == CallKind::Work).then(|| shutdown.in_flight.token());
    let asked = request.headers().get(GRPC_TIMEOUT).and_then(grpc_timeout);
    let limit = asked.map_or(HANDLER, |asked| asked.min(HANDLER));
    let (path, began) = (request.uri().path().to_owned(), Instant::now());
    let handler = async {
        monitor.wait_for_memory().await;
        // Only now: while memory is short, the request waits for the server, not for its client.
        let transfer = Some(monitor.request());
        let request = request.map(|body| {
            let body = Body::new(RequestBody { body, transfer });
            Body::new(CancellableBody::until_received(body, &shutdown.reject_incomplete))
        });
        let Ok(answer) = dispatcher.routes.clone().oneshot(request).await;
        answer
    };
    let answer = match timeout(limit, AssertUnwindSafe(handler).catch_unwind()).await {
        Ok(Ok(answer)) => with_status_details(answer, *add_status_details),
        Ok(Err(_)) => {
            tracing::error!(call = path, "a handler panicked");
            add_status_details(Status::internal("internal error")).into_http()
        }
        Err(_) => add_status_details(Status::deadline_exceeded("no answer within the deadline")).into_http(),
    };
    let (code, took_ms) = (code(&answer), millis(began.elapsed()));
    match kind {
        CallKind::Work => tracing::info!(call = path, ?code, took_ms, "answered"),
        CallKind::Stream => tracing::debug!(call = path, ?code, took_ms, "answered"),
    }
    let answer = match kind {
        CallKind::Work => answer,
        CallKind::Stream => answer.map(|body| {
            Body::new(CancellableBody::until_stopped(
                body,
                monitor.streams(),
                *add_status_details,
            ))
        }),
    };
    (answer, in_flight)
}

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The status code in the headers. An answer with a body has its code in the trailers, and counts as `Ok` here.
fn code(answer: &GrpcResponse) -> Code {
    let code = answer.headers().get(STATUS);
    code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// Adds details to the status of an answer that failed before its body began: such a status is in the headers.
fn with_status_details(answer: GrpcResponse, add_status_details: fn(Status) -> Status) -> GrpcResponse {
    const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
    let headers: &HeaderMap<HeaderValue> = answer.headers();
    let failed = headers.get(STATUS).is_some_and(|code| code != "0");
    if !failed || headers.contains_key(DETAILS) {
        return answer;
    }
    match Status::from_header_map(headers) {
        Some(status) => add_status_details(status).into_http(),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_methods_are_recognised() {
        for asks in ["cart.v1.CartService/GetCart", "orders.v1.OrdersService/ListOrders"] {
            assert!(is_read_only(&format!("/{asks}")), "{asks}");
        }
        for changes in ["cart.v1.CartService/AddItem", "cart.v1.CartService/GiveBack"] {
            assert!(!is_read_only(&format!("/{changes}")), "{changes}");
        }
    }
}
