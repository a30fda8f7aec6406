//! What a connection is waiting for. The socket sees bytes come and go, the service sees requests begin and answers end;
//! together they know, without looking at a byte.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::Patience;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For a request, of which nothing has come.
    Idle,
    /// For the rest of a request's head.
    Head,
    /// For the router's answer.
    Answer,
    /// For the client to take the end of the answer.
    Flush,
}

#[derive(Debug)]
struct Now {
    phase: Phase,
    since: Instant,
    /// What hyper answered by itself to a head that it refused.
    refusal: Option<Vec<u8>>,
}

/// The phase of one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Phases(Arc<Mutex<Now>>);

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing was asked, or nobody takes the answer.
    Idle,
    /// A request has begun and does not go on.
    Head,
}

impl Phases {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Now {
            phase: Phase::Idle,
            since: Instant::now(),
            refusal: None,
        })))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    pub(super) fn came(&self) {
        self.now().turn(Phase::Idle, Phase::Head);
    }

    /// All that was to be sent has been taken.
    pub(super) fn flushed(&self) {
        self.now().turn(Phase::Flush, Phase::Idle);
    }

    /// Takes what hyper sends by itself, and says whether this is such. While no request is being answered, hyper has
    /// nothing to send but its refusal of a head that it could not read.
    pub(super) fn refuses(&self, bytes: &[u8]) -> bool {
        let mut now = self.now();
        let refuses = matches!(now.phase, Phase::Idle | Phase::Head);
        if refuses {
            now.refusal.get_or_insert_default().extend_from_slice(bytes);
        }
        refuses
    }

    /// Whether a request has come that is not answered to its end.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.now().phase, Phase::Answer | Phase::Flush)
    }

    pub(super) fn is_refused(&self) -> bool {
        self.now().refusal.is_some()
    }

    pub(super) fn take_refusal(&self) -> Option<Vec<u8>> {
        self.now().refusal.take()
    }

    /// When the connection is to be given up if nothing changes, and for what.
    pub(super) fn due(&self, patience: Patience) -> Option<(Instant, Overdue)> {
        let now = self.now();
        let (time, overdue): (Duration, _) = match now.phase {
            Phase::Idle | Phase::Flush => (patience.keep_alive, Overdue::Idle),
            Phase::Head => (patience.head, Overdue::Head),
            Phase::Answer => return None,
        };
        Some((now.since + time, overdue))
    }

    /// A request has come as far as its body; its answer ends with what this returns.
    pub(super) fn answer(&self) -> Answering {
        self.now().phase = Phase::Answer;
        Answering(self.clone())
    }
}

impl Now {
    fn turn(&mut self, from: Phase, to: Phase) {
        if self.phase == from {
            self.phase = to;
            self.since = Instant::now();
        }
    }
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct Answering(Phases);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.now().turn(Phase::Answer, Phase::Flush);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct AnswerBody {
    pub(super) body: axum::body::Body,
    pub(super) _answering: Answering,
}

impl Body for AnswerBody {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
