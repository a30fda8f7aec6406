//! The requests in flight of a connection. A stop waits for answers, but not for incomplete requests.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use hyper::{
    Request,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    service::{Service, service_fn},
};
use hyper_util::service::TowerToHyperService;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// How long a client may take to send the rest of its request after a stop began.
const SEND_THE_REST: Duration = Duration::from_secs(1);
/// How long a client may take to read an answer that is ready.
const TAKE_THE_ANSWER: Duration = Duration::from_secs(5);

/// The requests in flight of one connection. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight {
    /// Requests whose answer was not yet given to the connection as a whole.
    unanswered: TaskTracker,
    /// Requests of which a part is still to come.
    incomplete: TaskTracker,
}

impl InFlight {
    /// Wraps the router to track the requests of one connection.
    pub(super) fn wrap(
        &self,
        router: Router,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + use<> {
        let in_flight = self.clone();
        let router = TowerToHyperService::new(router);
        service_fn(move |request: Request<Incoming>| {
            let (incomplete, answered) = (in_flight.incomplete.token(), in_flight.unanswered.token());
            let request = request.map(|body| Body::new(TrackedBody::new(body, incomplete)));
            let answer = router.call(request);
            async move { Ok(answer.await?.map(|body| Body::new(TrackedBody::new(body, answered)))) }
        })
    }

    /// After a stop began: waits until nothing is left to send to the client.
    pub(super) async fn drained(&self) {
        self.unanswered.close();
        tokio::time::sleep(SEND_THE_REST).await;
        if !self.incomplete.is_empty() {
            return;
        }
        self.unanswered.wait().await;
        tokio::time::sleep(TAKE_THE_ANSWER).await;
    }
}

/// A body that holds a tracker token until its end.
struct TrackedBody<B> {
    body: B,
    token: Option<TaskTrackerToken>,
}

impl<B: HttpBody> TrackedBody<B> {
    fn new(body: B, token: TaskTrackerToken) -> Self {
        let token = (!body.is_end_stream()).then_some(token);
        Self { body, token }
    }
}

impl<B: HttpBody + Unpin> HttpBody for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        let has_failed = matches!(frame, Poll::Ready(None | Some(Err(_))));
        if has_failed || this.body.is_end_stream() {
            this.token = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
