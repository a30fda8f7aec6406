//! What a connection is waiting for. The socket sees bytes come and go, the service sees requests begin and answers end;
//! together they know, without looking at a byte.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use super::{
    Patience,
    behind::{Behind, Size},
};
use crate::serve::{Capacity, Held, Idle};

/// What a client has to take of an answer in a millisecond, in bytes, while there is too little for all.
const LEAST_SPEED: u64 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For a request, of which nothing has come.
    Idle,
    /// For the rest of a request's head.
    Head,
    /// For the router's answer.
    Answer,
    /// For the client to take the answer.
    Flush,
}

#[derive(Debug)]
struct Now {
    phase: Phase,
    /// Since the phase began.
    began: Instant,
    /// Since something came or went in it.
    since: Instant,
    /// The bytes that went in it.
    taken: u64,
    /// While nothing is asked.
    idle: Option<Idle>,
    /// The bytes of the head that has begun, or of the answer that is not taken.
    held: Option<Held>,
    /// How many have come of the head that has begun.
    came: usize,
    /// What has come behind the request that is answered.
    behind: Option<Behind>,
    /// The head that has begun is one of too many.
    is_too_much: bool,
    /// What hyper answered by itself to a head that it refused.
    refusal: Option<Vec<u8>>,
}

/// The phase of one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Phases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    now: Mutex<Now>,
    capacity: Capacity,
    flushed: Notify,
    /// Told when others need this connection's place.
    leave: Arc<Notify>,
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing was asked.
    Idle,
    /// A request has begun and does not go on.
    Head,
    /// Nobody takes the answer.
    Unread,
}

impl Phases {
    pub(super) fn new(capacity: Capacity) -> Self {
        let opened = Instant::now();
        let leave = Arc::new(Notify::new());
        Self(Arc::new(Shared {
            now: Mutex::new(Now {
                phase: Phase::Idle,
                began: opened,
                since: opened,
                taken: 0,
                idle: Some(capacity.idle(&leave)),
                held: None,
                came: 0,
                behind: None,
                is_too_much: false,
                refusal: None,
            }),
            capacity,
            flushed: Notify::new(),
            leave,
        }))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes have come.
    pub(super) fn came(&self, bytes: usize) {
        let mut now = self.now();
        let now = &mut *now;
        if now.turn(Phase::Idle, Phase::Head) {
            now.idle = None;
        }
        if now.phase == Phase::Head {
            let held = now.held.get_or_insert_with(|| self.0.capacity.request());
            held.grow(bytes);
            now.is_too_much = held.is_too_much();
            now.came += bytes;
        } else if let Some(behind) = &mut now.behind {
            behind.came(bytes);
        }
    }

    /// So many bytes that were to be sent have been taken.
    pub(super) fn took(&self, bytes: usize) {
        let mut now = self.now();
        now.since = Instant::now();
        now.taken += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// All that was to be sent has been taken.
    pub(super) fn flushed(&self) {
        let mut now = self.now();
        if !now.turn(Phase::Flush, Phase::Idle) {
            return;
        }
        if let Some((held, came)) = now.behind.take().and_then(Behind::rest) {
            // The next request has begun already.
            now.turn(Phase::Idle, Phase::Head);
            (now.held, now.came) = (Some(held), came);
        } else {
            now.held = None;
            now.idle = Some(self.0.capacity.idle(&self.0.leave));
        }
        drop(now);
        self.0.flushed.notify_one();
    }

    /// Whether the client has taken all answers.
    pub(super) fn is_free(&self) -> bool {
        self.now().phase != Phase::Flush
    }

    /// Waits until the client has taken the answer before: hyper reads a request that
    /// came right behind another one before anybody has read the answer to that, and would pile up answers.
    pub(super) async fn turn_comes(&self) {
        while !self.is_free() {
            self.0.flushed.notified().await;
        }
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
        match now.phase {
            Phase::Idle => Some((now.began + patience.keep_alive, Overdue::Idle)),
            Phase::Head if now.is_too_much => Some((now.began, Overdue::Head)),
            Phase::Head => Some((now.began + patience.head, Overdue::Head)),
            Phase::Answer => None,
            Phase::Flush => {
                let due = (now.since + patience.progress).min(now.began + patience.answer);
                Some((due, Overdue::Unread))
            }
        }
    }

    /// Ends when there is too little for all, and the client has let this connection wait too long for that; or when the place
    /// of this connection is needed, which nobody uses.
    pub(super) async fn crowded_out(&self) -> Overdue {
        loop {
            let is_needed = tokio::select! {
                () = self.0.capacity.crowded() => false,
                () = self.0.leave.notified() => true,
            };
            let now = self.now();
            let (since, overdue) = match now.phase {
                Phase::Idle if is_needed => (now.began, Overdue::Idle),
                Phase::Head => (now.began, Overdue::Head),
                // A client that takes some bytes now and then has to keep the least speed as well.
                Phase::Flush => (now.since.min(now.began + at_least_speed(now.taken)), Overdue::Unread),
                Phase::Idle | Phase::Answer => continue,
            };
            if since.elapsed() >= Capacity::SHORT_PATIENCE {
                return overdue;
            }
        }
    }

    /// Whether there is no room for an answer of this size.
    pub(super) fn has_no_room(&self, bytes: u64) -> bool {
        self.0.capacity.refuses(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// A request of this size has come as far as its body; its answer ends with what this returns.
    pub(super) fn answer(&self, request: Size) -> Answering {
        let mut now = self.now();
        let came = std::mem::take(&mut now.came);
        now.phase = Phase::Answer;
        now.behind = Some(Behind::new(self.0.capacity.request(), came, request));
        now.held = None;
        now.idle = None;
        now.is_too_much = false;
        Answering(self.clone())
    }
}

impl Now {
    fn turn(&mut self, from: Phase, to: Phase) -> bool {
        let turns = self.phase == from;
        if turns {
            self.phase = to;
            self.began = Instant::now();
            self.since = self.began;
            self.taken = 0;
        }
        turns
    }
}

/// How long so many bytes take at the least speed.
const fn at_least_speed(bytes: u64) -> Duration {
    Duration::from_millis(bytes / LEAST_SPEED)
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct Answering(Phases);

impl Answering {
    /// The answer is made, and has so many bytes at least.
    pub(super) fn made(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let held = self.0.0.capacity.answer(bytes);
        self.0.now().held = Some(held);
    }
}

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

#[cfg(test)]
mod tests {
    use crate::places::Places;
    use tokio::time::interval;

    use super::*;

    const SMALL: Size = Size {
        head: 100,
        body: Some(0),
    };

    #[tokio::test(start_paused = true)]
    async fn who_takes_little_now_and_then_is_given_up_when_there_is_too_little_for_all() {
        let capacity = Capacity::with_room(Places::new(1, 1), 100);
        let (phases, _others) = (Phases::new(capacity.clone()), capacity.answer(100));
        let answering = phases.answer(SMALL);
        answering.made(10_000);
        drop(answering);
        let mut pace = interval(Capacity::SHORT_PATIENCE / 10);
        let taking = async {
            for _ in 0..100 {
                pace.tick().await;
                phases.took(1);
            }
        };
        tokio::select! {
            overdue = phases.crowded_out() => assert_eq!(overdue, Overdue::Unread),
            () = taking => panic!("it lives for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_an_answer_swiftly_may_finish_when_there_is_too_little_for_all() {
        let capacity = Capacity::with_room(Places::new(1, 1), 100);
        let (phases, _others) = (Phases::new(capacity.clone()), capacity.answer(100));
        drop(phases.answer(SMALL));
        let mut pace = interval(Capacity::SHORT_PATIENCE / 10);
        let taking = async {
            for _ in 0..100 {
                pace.tick().await;
                phases.took(26 * 1024);
            }
        };
        tokio::select! {
            overdue = phases.crowded_out() => panic!("{overdue:?}"),
            () = taking => assert!(phases.is_asked()),
        }
    }
}
