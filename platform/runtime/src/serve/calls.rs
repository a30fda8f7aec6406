//! What is around every handler.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt;
use tracing::Instrument;

use super::{
    bodies::{Answering, Arriving, Until},
    ending::Ending,
    watch::{Kind, Watch},
};
use crate::{Ids, RequestContext, channel::grpc_timeout, deadlines::HANDLER, service::Answer, telemetry::millis};

/// Health and reflection: what streams there goes on until its client or the service ends it, and nothing is lost with it.
const ABOUT_THE_SERVER: &str = "/grpc.";
/// How methods are called that only ask.
const ASKING: [&str; 3] = ["Get", "List", "BatchGet"];

/// What all calls to a service have around them.
pub(super) struct Around {
    pub(super) routes: Routes,
    pub(super) ids: Ids,
    pub(super) complete: fn(Status) -> Status,
    pub(super) ending: Ending,
}

/// The calls of one connection. It runs each handler in the context of its request and within its deadline, turns a panic
/// into `INTERNAL`, completes statuses, and knows what is in flight.
pub(super) struct Calls<I> {
    pub(super) around: Arc<Around>,
    pub(super) watch: Watch,
    /// Where the connection comes from, as handlers find it in their request.
    pub(super) info: I,
}

impl<I: Clone + Send + Sync + 'static> hyper::service::Service<Request<Incoming>> for Calls<I> {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        let kind = if path.starts_with(ABOUT_THE_SERVER) {
            Kind::Stream
        } else {
            Kind::Work
        };
        let may_be_withheld = kind == Kind::Stream || only_asks(path);
        let call = self.watch.call(kind);
        request.extensions_mut().insert(self.info.clone());
        let context = RequestContext::from_headers(request.headers(), &self.around.ids);
        let answer = answer(self.around.clone(), self.watch.clone(), kind, request).instrument(context.span());
        let (watch, complete) = (self.watch.clone(), self.around.complete);
        context
            .scope(answer.map(move |Given { answer, in_flight }| {
                Ok(answer.map(|body| Answering {
                    body,
                    may_be_withheld,
                    in_flight,
                    _call: call,
                    watch,
                    complete,
                }))
            }))
            .boxed()
    }
}

/// An answer, and what says that it is in flight.
struct Given {
    answer: Answer,
    in_flight: Option<tokio_util::task::task_tracker::TaskTrackerToken>,
}

/// Whether a call only asks, so that its answer may be withheld: it can be asked for again. A call that has changed something
/// is told so, whatever room that takes: a cart may have more than 64 KiB, with what checkouts hold of it.
fn only_asks(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    ASKING.iter().any(|asking| method.starts_with(asking))
}

async fn answer(around: Arc<Around>, watch: Watch, kind: Kind, request: Request<Incoming>) -> Given {
    let Around { ending, complete, .. } = &*around;
    let in_flight = (kind == Kind::Work).then(|| ending.in_flight.token());
    let asked = request.headers().get(GRPC_TIMEOUT).and_then(grpc_timeout);
    let limit = asked.map_or(HANDLER, |asked| asked.min(HANDLER));
    let (path, began) = (request.uri().path().to_owned(), Instant::now());
    let handler = async {
        watch.room().await;
        // Only now: while there is no room the request waits for the server, not for its client.
        let on_its_way = Some(watch.request());
        let request = request.map(|body| {
            let body = Body::new(Arriving { body, on_its_way });
            Body::new(Until::arrived(body, &ending.late))
        });
        let Ok(answer) = around.routes.clone().oneshot(request).await;
        answer
    };
    let answer = match timeout(limit, AssertUnwindSafe(handler).catch_unwind()).await {
        Ok(Ok(answer)) => completed(answer, *complete),
        Ok(Err(_)) => {
            tracing::error!(call = path, "a handler panicked");
            complete(Status::internal("internal error")).into_http()
        }
        Err(_) => complete(Status::deadline_exceeded("no answer within the deadline")).into_http(),
    };
    let (code, took_ms) = (code(&answer), millis(began.elapsed()));
    match kind {
        Kind::Work => tracing::info!(call = path, ?code, took_ms, "answered"),
        Kind::Stream => tracing::debug!(call = path, ?code, took_ms, "answered"),
    }
    let answer = match kind {
        Kind::Work => answer,
        Kind::Stream => answer.map(|body| Body::new(Until::streamed(body, watch.streams(), *complete))),
    };
    Given { answer, in_flight }
}

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The code of an answer as far as it is known: one whose body begins says it behind that, and is `Ok` here.
fn code(answer: &Answer) -> Code {
    let code = answer.headers().get(STATUS);
    code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// An answer that failed before its body began has its status in the headers.
fn completed(answer: Answer, complete: fn(Status) -> Status) -> Answer {
    const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_change_something_are_told_from_those_that_only_ask() {
        for asks in ["cart.v1.CartService/GetCart", "orders.v1.OrdersService/ListOrders"] {
            assert!(only_asks(&format!("/{asks}")), "{asks}");
        }
        for changes in ["cart.v1.CartService/AddItem", "cart.v1.CartService/GiveBack"] {
            assert!(!only_asks(&format!("/{changes}")), "{changes}");
        }
    }
}
