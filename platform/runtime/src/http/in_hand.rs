//! What is in hand on a connection: a stop waits for answers, and not for requests that never arrive whole.

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

/// How long a client may take, once a stop has begun, to send the rest of its request.
const SEND_THE_REST: Duration = Duration::from_secs(1);
/// How long a client may take for an answer that is ready.
const TAKE_THE_ANSWER: Duration = Duration::from_secs(5);

/// The requests of one connection. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct InHand {
    /// Those whose answer has not been given to the connection whole.
    requests: TaskTracker,
    /// Those of which a part is still to come.
    arriving: TaskTracker,
}

impl InHand {
    /// The router for one connection, whose requests are counted here.
    pub(super) fn around(
        &self,
        router: Router,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + use<> {
        let in_hand = self.clone();
        let router = TowerToHyperService::new(router);
        service_fn(move |request: Request<Incoming>| {
            let (arriving, answered) = (in_hand.arriving.token(), in_hand.requests.token());
            let request = request.map(|body| Body::new(Counted::new(body, arriving)));
            let answer = router.call(request);
            async move { Ok(answer.await?.map(|body| Body::new(Counted::new(body, answered)))) }
        })
    }

    /// After a stop has begun: waits until the connection has nothing more to give to its client.
    pub(super) async fn finished(&self) {
        self.requests.close();
        tokio::time::sleep(SEND_THE_REST).await;
        if !self.arriving.is_empty() {
            return;
        }
        self.requests.wait().await;
        tokio::time::sleep(TAKE_THE_ANSWER).await;
    }
}

/// A body that counts until its end.
struct Counted<B> {
    body: B,
    token: Option<TaskTrackerToken>,
}

impl<B: HttpBody> Counted<B> {
    fn new(body: B, token: TaskTrackerToken) -> Self {
        let token = (!body.is_end_stream()).then_some(token);
        Self { body, token }
    }
}

impl<B: HttpBody + Unpin> HttpBody for Counted<B> {
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
