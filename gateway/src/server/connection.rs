//! One connection: its requests, how long it may take over what it does not ask, and what is said of a request that hyper
//! refuses.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Router, http::Request, response::Response};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use runtime::{Runtime, Tasks};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Patience,
    phase::{AnswerBody, Overdue, Phases},
    refusal,
    socket::Socket,
};
use crate::{caller::ClientAddress, in_hand::InHand};

/// The most that is buffered of what nobody reads yet, in bytes.
const MAX_BUFFER: usize = 64 * 1024;

/// What serving every connection takes. Clones share it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) patience: Patience,
    pub(super) runtime: Runtime,
}

impl Server {
    pub(super) async fn serve(self, stream: TcpStream, from: IpAddr, tasks: Tasks) {
        // Without it an answer may wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let (phases, in_hand) = (Phases::new(), InHand::default());
        let socket = Socket {
            stream,
            phases: phases.clone(),
        };
        let mut served = http1::Builder::new()
            .max_header_size(refusal::MAX_HEAD)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(
                TokioIo::new(socket),
                requests(in_hand.around(self.router), from, phases.clone()),
            );
        let mut overdue = std::pin::pin!(overdue(&phases, self.patience));
        let ended = tokio::select! {
            biased;
            ended = &mut served => Ok(ended),
            why = &mut overdue => Err(why),
            () = tasks.stopping() => {
                if !phases.is_asked() {
                    return;
                }
                Pin::new(&mut served).graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = &mut served => Ok(ended),
                    why = &mut overdue => Err(why),
                    () = in_hand.finished() => return,
                }
            }
        };
        let problem = match ended {
            Ok(Ok(())) | Err(Overdue::Idle) => return,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection ended early");
                None
            }
            Err(Overdue::Head) => Some(refusal::too_slow()),
        };
        let parts = served.into_parts();
        let refused = || Some(refusal::of(&phases.take_refusal()?, &parts.read_buf));
        let Some(problem) = problem.or_else(refused) else {
            return;
        };
        let mut stream = parts.io.into_inner().stream;
        if let Err(error) = refusal::send(&mut stream, &problem, &self.runtime).await {
            tracing::debug!(%error, "a refusal was not taken");
        }
    }
}

/// The router, told where its requests come from.
fn requests(
    router: impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>,
    from: IpAddr,
    phases: Phases,
) -> impl Service<
    Request<Incoming>,
    Response = axum::http::Response<AnswerBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<axum::http::Response<AnswerBody>, Infallible>> + Send,
> {
    service_fn(move |mut request: Request<Incoming>| {
        let answering = phases.answer();
        request.extensions_mut().insert(ClientAddress(from));
        let answer = router.call(request);
        async move {
            let whole = |body| AnswerBody {
                body,
                _answering: answering,
            };
            answer.await.map(|answer| answer.map(whole))
        }
    })
}

/// Ends when the connection has been waiting for too long, for whatever it is waiting for. The timer is set again only when
/// it has to ring earlier, or has rung: a request that comes at once costs none.
async fn overdue(phases: &Phases, patience: Patience) -> Overdue {
    let mut timer = std::pin::pin!(sleep_until(Instant::now() + patience.keep_alive));
    poll_fn(|cx| {
        let Some((due, what)) = phases.due(patience) else {
            return Poll::Pending;
        };
        if due < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(due);
        }
        poll_until(timer.as_mut(), due, cx).map(|()| what)
    })
    .await
}

/// Polls the timer, which may be set to an earlier time, until `due`.
fn poll_until(mut timer: Pin<&mut Sleep>, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
    while timer.as_mut().poll(cx).is_ready() {
        if due <= Instant::now() {
            return Poll::Ready(());
        }
        timer.as_mut().reset(due);
    }
    Poll::Pending
}
