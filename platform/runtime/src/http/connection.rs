//! One HTTP/1 connection: requests, timeouts, and answers to requests that hyper refuses.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{http::Request, response::Response};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    HttpTimeouts, Server,
    in_flight::InFlight,
    phase::{AnswerBody, CloseReason, PhaseTracker},
    read_ahead::RequestSize,
    refusal::{self, Refused, RenderRefusal},
    socket::Socket,
};
use crate::{Tasks, serve::AcceptedConnection};

/// The most bytes that are buffered before they are read.
const MAX_BUFFER: usize = 64 * 1024;

/// How many bytes, and how long, to read from a client after its last answer.
const MAX_DISCARDED: u64 = 1024 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// The client's address, as an extension of each request.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl Server {
    pub(super) async fn serve(self, accepted: AcceptedConnection, tasks: Tasks) {
        let AcceptedConnection {
            stream,
            from,
            permit: _permit,
        } = accepted;
        let (tracker, in_flight) = (PhaseTracker::new(self.capacity.clone()), InFlight::default());
        let socket = Socket {
            stream,
            tracker: tracker.clone(),
        };
        let router = in_flight.wrap(self.router.clone());
        let service = routed(router, from, tracker.clone(), self.render_refusal);
        let mut served = http1::Builder::new()
            .max_header_size(refusal::MAX_HEAD)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(socket), service);
        let mut close_reason = std::pin::pin!(close_reason(&tracker, self.timeouts));
        let ended = tokio::select! {
            biased;
            ended = &mut served => Ok(ended),
            why = &mut close_reason => Err(why),
            () = tasks.stopping() => {
                if !tracker.has_request() {
                    return;
                }
                Pin::new(&mut served).graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = &mut served => Ok(ended),
                    why = &mut close_reason => Err(why),
                    () = in_flight.drained() => return,
                }
            }
        };
        let parts = served.into_parts();
        let refused = match &ended {
            Err(CloseReason::Idle) => return,
            Err(CloseReason::Unread) => {
                // Makes the operating system drop the unread bytes at once.
                let _ = parts.io.inner().stream.set_zero_linger();
                return;
            }
            Err(CloseReason::Head) => Some(Refused::HeadTooSlow),
            Ok(_) => tracker
                .take_refusal()
                .map(|answer| refusal::reason(&answer, &parts.read_buf)),
        };
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "a connection ended early");
            if refused.is_none() {
                return;
            }
        }
        drop(parts.read_buf);
        self.refuse_and_linger(parts.io.into_inner().stream, refused).await;
    }

    async fn refuse_and_linger(&self, mut stream: TcpStream, refused: Option<Refused>) {
        let close = async {
            if let Some(why) = refused {
                refusal::send(&mut stream, why, self.render_refusal, &self.runtime).await?;
            }
            linger(&mut stream).await
        };
        if !matches!(timeout(LINGER_TIMEOUT, close).await, Ok(Ok(()))) {
            tracing::debug!("a client may not have read its last answer");
        }
    }
}

/// Discards what the client still sends, until the client closes. Closing earlier would reset the connection, and the
/// client could lose the answer. A client that sends nothing is not waited for.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    match stream.try_read(&mut [0; 1024]) {
        Ok(1..) => tokio::io::copy(&mut stream.take(MAX_DISCARDED), &mut tokio::io::sink())
            .await
            .map(|_| ()),
        Ok(0) | Err(_) => Ok(()),
    }
}

/// Wraps the router: adds the client's address, tracks phases, and refuses answers without memory.
fn routed(
    router: impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send,
    from: IpAddr,
    tracker: PhaseTracker,
    render_refusal: RenderRefusal,
) -> impl Service<
    Request<Incoming>,
    Response = axum::http::Response<AnswerBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<axum::http::Response<AnswerBody>, Infallible>> + Send,
> {
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientAddress(from));
        // At once if possible, because the socket counts what it sees next for this answer.
        let size = RequestSize::of(&request);
        let at_once = tracker.is_answer_taken().then(|| tracker.answer(size));
        let (tracker, router) = (tracker.clone(), router.clone());
        async move {
            let guard = if let Some(guard) = at_once {
                guard
            } else {
                tracker.previous_answer_taken().await;
                tracker.answer(size)
            };
            // An answer to a change is always sent. A safe request can be repeated, so its answer may be refused.
            let read_only_path = request.method().is_safe().then(|| request.uri().path().to_owned());
            let mut answer = router.call(request).await?;
            let bytes = answer.body().size_hint().lower();
            if let Some(path) = read_only_path.filter(|_| tracker.refuses(bytes)) {
                answer = refusal::in_place_of(&answer, &path, render_refusal);
            }
            guard.answer_ready(answer.body().size_hint().lower());
            Ok(answer.map(|body| AnswerBody { body, _guard: guard }))
        }
    })
}

/// Resolves when the connection must be closed: after a timeout, or under pressure.
async fn close_reason(tracker: &PhaseTracker, timeouts: HttpTimeouts) -> CloseReason {
    tokio::select! {
        close_reason = timed_out(tracker, timeouts) => close_reason,
        close_reason = tracker.evicted() => close_reason,
    }
}

/// Resolves after a timeout. Resets the timer only to ring earlier, or after it rang: most requests need no reset.
async fn timed_out(tracker: &PhaseTracker, timeouts: HttpTimeouts) -> CloseReason {
    let mut timer = std::pin::pin!(sleep_until(Instant::now() + timeouts.keep_alive));
    poll_fn(|cx| {
        let Some((deadline, what)) = tracker.deadline(timeouts) else {
            return Poll::Pending;
        };
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        poll_until(timer.as_mut(), deadline, cx).map(|()| what)
    })
    .await
}

/// Polls the timer until `deadline`. The timer may be set to an earlier time.
fn poll_until(mut timer: Pin<&mut Sleep>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    while timer.as_mut().poll(cx).is_ready() {
        if deadline <= Instant::now() {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}
