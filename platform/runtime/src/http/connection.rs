//! One connection: its requests, how long it may take over what it does not ask, and what is said of a request that hyper
//! refuses.

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
    Patience, Server,
    behind::Size,
    in_hand::InHand,
    phase::{AnswerBody, Overdue, Phases},
    refusal::{self, Refusals, Refused},
    socket::Socket,
};
use crate::{Tasks, serve::Arrival};

/// The most that is buffered of what nobody reads yet, in bytes.
const MAX_BUFFER: usize = 64 * 1024;

/// How much is read, and how long, of what a client sends that has its last answer.
const DISCARDED: u64 = 1024 * 1024;
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The address that a request came from, among its extensions.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl Server {
    pub(super) async fn serve(self, arrival: Arrival, tasks: Tasks) {
        let Arrival {
            stream,
            from,
            place: _place,
        } = arrival;
        let (phases, in_hand) = (Phases::new(self.capacity.clone()), InHand::default());
        let socket = Socket {
            stream,
            phases: phases.clone(),
        };
        let mut served = http1::Builder::new()
            .max_header_size(refusal::MAX_HEAD)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(
                TokioIo::new(socket),
                requests(in_hand.around(self.router.clone()), from, phases.clone(), self.refusals),
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
        let parts = served.into_parts();
        let refused = match &ended {
            Err(Overdue::Idle) => return,
            Err(Overdue::Unread) => {
                // The system, too, forgets at once what nobody takes.
                let _ = parts.io.inner().stream.set_zero_linger();
                return;
            }
            Err(Overdue::Head) => Some(Refused::HeadTooSlow),
            Ok(_) => phases
                .take_refusal()
                .map(|answer| refusal::of(&answer, &parts.read_buf)),
        };
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "a connection ended early");
            if refused.is_none() {
                return;
            }
        }
        drop(parts.read_buf);
        self.say_last_words(parts.io.into_inner().stream, refused).await;
    }

    async fn say_last_words(&self, mut stream: TcpStream, refused: Option<Refused>) {
        let last_words = async {
            if let Some(why) = refused {
                refusal::send(&mut stream, why, self.refusals, &self.runtime).await?;
            }
            hang_up(&mut stream).await
        };
        if !matches!(timeout(LAST_WORDS, last_words).await, Ok(Ok(()))) {
            tracing::debug!("the last words on a connection may not have been read");
        }
    }
}

/// Reads what a client still sends that nobody wants, until it has read its answer and closes: closing before that would
/// reset the connection, and the answer could be lost. A client that sends nothing is not waited for.
async fn hang_up(stream: &mut TcpStream) -> io::Result<()> {
    match stream.try_read(&mut [0; 1024]) {
        Ok(1..) => tokio::io::copy(&mut stream.take(DISCARDED), &mut tokio::io::sink())
            .await
            .map(|_| ()),
        Ok(0) | Err(_) => Ok(()),
    }
}

/// The router, told where its requests come from.
fn requests(
    router: impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send,
    from: IpAddr,
    phases: Phases,
    refusals: Refusals,
) -> impl Service<
    Request<Incoming>,
    Response = axum::http::Response<AnswerBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<axum::http::Response<AnswerBody>, Infallible>> + Send,
> {
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientAddress(from));
        // At once, if it may be: what the socket sees next belongs to this answer.
        let size = Size::of(&request);
        let at_once = phases.is_free().then(|| phases.answer(size));
        let (phases, router) = (phases.clone(), router.clone());
        async move {
            let answering = if let Some(answering) = at_once {
                answering
            } else {
                phases.turn_comes().await;
                phases.answer(size)
            };
            // What has changed something is told so, whatever room that takes; the rest can be asked again.
            let asked = request.method().is_safe().then(|| request.uri().path().to_owned());
            let mut answer = router.call(request).await?;
            let bytes = answer.body().size_hint().lower();
            if let Some(path) = asked.filter(|_| phases.has_no_room(bytes)) {
                answer = refusal::in_place_of(&answer, &path, refusals);
            }
            answering.made(answer.body().size_hint().lower());
            Ok(answer.map(|body| AnswerBody {
                body,
                _answering: answering,
            }))
        }
    })
}

/// Ends when the connection has been waiting for too long, for whatever it is waiting for.
async fn overdue(phases: &Phases, patience: Patience) -> Overdue {
    tokio::select! {
        overdue = due(phases, patience) => overdue,
        overdue = phases.crowded_out() => overdue,
    }
}

/// The same, while there is enough for all. The timer is set again only when
/// it has to ring earlier, or has rung: a request that comes at once costs none.
async fn due(phases: &Phases, patience: Patience) -> Overdue {
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
