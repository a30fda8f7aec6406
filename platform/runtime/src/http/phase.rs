//! What a connection waits for. The socket reports bytes read and written, the service reports requests and answers; the
//! phase follows from both, without parsing.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use super::{
    HttpTimeouts,
    read_ahead::{ReadAhead, RequestSize},
};
use crate::serve::{BufferedBytes, Capacity, IdleConnection};

/// The least speed at which a client must read an answer under memory pressure.
const MIN_BYTES_PER_MS: u64 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for a request. No byte of it has come.
    Idle,
    /// Waits for the rest of a request's head.
    Head,
    /// Waits for the router's answer.
    Answer,
    /// Waits for the client to read the answer.
    Flush,
}

#[derive(Debug)]
struct PhaseState {
    phase: Phase,
    /// When the phase began.
    began: Instant,
    /// When bytes were last written in this phase, or when it began.
    since: Instant,
    /// The bytes written in this phase.
    sent: u64,
    /// Set while the connection waits for a request.
    idle: Option<IdleConnection>,
    /// The bytes of a partial head, or of an unread answer.
    buffered: Option<BufferedBytes>,
    /// The bytes received of a partial head.
    received: usize,
    /// Bytes received after the request that is being answered.
    read_ahead: Option<ReadAhead>,
    /// The partial head must be rejected: partial requests use too much memory.
    must_reject: bool,
    /// hyper's own answer to a head that hyper refused.
    refusal: Option<Vec<u8>>,
}

/// Tracks the phase of one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct PhaseTracker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<PhaseState>,
    capacity: Capacity,
    flushed: Notify,
    /// Notified when another connection needs this one's permit.
    evict: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// No request came.
    Idle,
    /// The head of a request does not arrive.
    Head,
    /// The client does not read the answer.
    Unread,
}

impl PhaseTracker {
    pub(super) fn new(capacity: Capacity) -> Self {
        let opened = Instant::now();
        let evict = Arc::new(Notify::new());
        Self(Arc::new(Shared {
            state: Mutex::new(PhaseState {
                phase: Phase::Idle,
                began: opened,
                since: opened,
                sent: 0,
                idle: Some(capacity.idle(&evict)),
                buffered: None,
                received: 0,
                read_ahead: None,
                must_reject: false,
                refusal: None,
            }),
            capacity,
            flushed: Notify::new(),
            evict,
        }))
    }

    fn state(&self) -> MutexGuard<'_, PhaseState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports bytes read from the client.
    pub(super) fn received(&self, bytes: usize) {
        let mut state = self.state();
        let state = &mut *state;
        if state.advance(Phase::Idle, Phase::Head) {
            state.idle = None;
        }
        if state.phase == Phase::Head {
            let buffered = state.buffered.get_or_insert_with(|| self.0.capacity.request());
            buffered.grow(bytes);
            state.must_reject = buffered.must_reject();
            state.received += bytes;
        } else if let Some(read_ahead) = &mut state.read_ahead {
            read_ahead.received(bytes);
        }
    }

    /// Reports bytes written to the client.
    pub(super) fn sent(&self, bytes: usize) {
        let mut state = self.state();
        state.since = Instant::now();
        state.sent += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Reports that all buffered bytes were written.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if !state.advance(Phase::Flush, Phase::Idle) {
            return;
        }
        if let Some((buffered, received)) = state.read_ahead.take().and_then(ReadAhead::into_next_request) {
            // The next request has already begun.
            state.advance(Phase::Idle, Phase::Head);
            (state.buffered, state.received) = (Some(buffered), received);
        } else {
            state.buffered = None;
            state.idle = Some(self.0.capacity.idle(&self.0.evict));
        }
        drop(state);
        self.0.flushed.notify_one();
    }

    /// Whether the client has read all answers.
    pub(super) fn is_answer_taken(&self) -> bool {
        self.state().phase != Phase::Flush
    }

    /// Waits until the client has read the previous answer. hyper reads a pipelined request before that, and would pile
    /// up answers.
    pub(super) async fn previous_answer_taken(&self) {
        while !self.is_answer_taken() {
            self.0.flushed.notified().await;
        }
    }

    /// Captures bytes that hyper sends without a request in progress: its refusal of an unreadable head. Returns
    /// whether the bytes were captured.
    pub(super) fn capture_refusal(&self, bytes: &[u8]) -> bool {
        let mut state = self.state();
        let is_refusal = matches!(state.phase, Phase::Idle | Phase::Head);
        if is_refusal {
            state.refusal.get_or_insert_default().extend_from_slice(bytes);
        }
        is_refusal
    }

    /// Whether a request is in progress or its answer is unread.
    pub(super) fn has_request(&self) -> bool {
        matches!(self.state().phase, Phase::Answer | Phase::Flush)
    }

    pub(super) fn has_refusal(&self) -> bool {
        self.state().refusal.is_some()
    }

    pub(super) fn take_refusal(&self) -> Option<Vec<u8>> {
        self.state().refusal.take()
    }

    /// When to close the connection if nothing changes, and why.
    pub(super) fn deadline(&self, timeouts: HttpTimeouts) -> Option<(Instant, CloseReason)> {
        let state = self.state();
        match state.phase {
            Phase::Idle => Some((state.began + timeouts.keep_alive, CloseReason::Idle)),
            Phase::Head if state.must_reject => Some((state.began, CloseReason::Head)),
            Phase::Head => Some((state.began + timeouts.head, CloseReason::Head)),
            Phase::Answer => None,
            Phase::Flush => {
                let deadline = (state.since + timeouts.progress).min(state.began + timeouts.answer);
                Some((deadline, CloseReason::Unread))
            }
        }
    }

    /// Resolves when the connection must be closed: the client is too slow while memory is short, or another connection
    /// needs the permit of this idle one.
    pub(super) async fn evicted(&self) -> CloseReason {
        loop {
            let is_evicted = tokio::select! {
                () = self.0.capacity.pressure() => false,
                () = self.0.evict.notified() => true,
            };
            let state = self.state();
            let (since, close_reason) = match state.phase {
                Phase::Idle if is_evicted => (state.began, CloseReason::Idle),
                Phase::Head => (state.began, CloseReason::Head),
                // A client that reads a few bytes now and then must keep the least speed as well.
                Phase::Flush => (
                    state.since.min(state.began + time_at_min_speed(state.sent)),
                    CloseReason::Unread,
                ),
                Phase::Idle | Phase::Answer => continue,
            };
            if since.elapsed() >= Capacity::PRESSURE_TIMEOUT {
                return close_reason;
            }
        }
    }

    /// Whether memory is too short for an answer of this size.
    pub(super) fn refuses(&self, bytes: u64) -> bool {
        self.0.capacity.refuses(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// A request arrived up to its body. Its answer ends when the returned guard is dropped.
    pub(super) fn answer(&self, request: RequestSize) -> RequestGuard {
        let mut state = self.state();
        let received = std::mem::take(&mut state.received);
        state.phase = Phase::Answer;
        state.read_ahead = Some(ReadAhead::new(self.0.capacity.request(), received, request));
        state.buffered = None;
        state.idle = None;
        state.must_reject = false;
        RequestGuard(self.clone())
    }
}

impl PhaseState {
    fn advance(&mut self, from: Phase, to: Phase) -> bool {
        let changes = self.phase == from;
        if changes {
            self.phase = to;
            self.began = Instant::now();
            self.since = self.began;
            self.sent = 0;
        }
        changes
    }
}

/// How long sending this many bytes takes at the least speed.
const fn time_at_min_speed(bytes: u64) -> Duration {
    Duration::from_millis(bytes / MIN_BYTES_PER_MS)
}

/// A request in progress. Dropping the guard ends its answer.
#[derive(Debug)]
pub(super) struct RequestGuard(PhaseTracker);

impl RequestGuard {
    /// The answer is ready and has at least this many bytes.
    pub(super) fn answer_ready(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let buffered = self.0.0.capacity.answer(bytes);
        self.0.state().buffered = Some(buffered);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.state().advance(Phase::Answer, Phase::Flush);
    }
}

/// The body of an answer, with the guard of its request.
#[derive(Debug)]
pub(super) struct AnswerBody {
    pub(super) body: axum::body::Body,
    pub(super) _guard: RequestGuard,
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
    use crate::permits::Permits;
    use tokio::time::interval;

    use super::*;

    const SMALL: RequestSize = RequestSize {
        head: 100,
        body: Some(0),
    };

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_closed_under_memory_pressure() {
        let capacity = Capacity::with_memory(Permits::new(1, 1), 100);
        let (tracker, _others) = (PhaseTracker::new(capacity.clone()), capacity.answer(100));
        let guard = tracker.answer(SMALL);
        guard.answer_ready(10_000);
        drop(guard);
        let mut pace = interval(Capacity::PRESSURE_TIMEOUT / 10);
        let taking = async {
            for _ in 0..100 {
                pace.tick().await;
                tracker.sent(1);
            }
        };
        tokio::select! {
            close_reason = tracker.evicted() => assert_eq!(close_reason, CloseReason::Unread),
            () = taking => panic!("the slow reader was not closed"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_reader_may_finish_under_memory_pressure() {
        let capacity = Capacity::with_memory(Permits::new(1, 1), 100);
        let (tracker, _others) = (PhaseTracker::new(capacity.clone()), capacity.answer(100));
        drop(tracker.answer(SMALL));
        let mut pace = interval(Capacity::PRESSURE_TIMEOUT / 10);
        let taking = async {
            for _ in 0..100 {
                pace.tick().await;
                tracker.sent(26 * 1024);
            }
        };
        tokio::select! {
            close_reason = tracker.evicted() => panic!("{close_reason:?}"),
            () = taking => assert!(tracker.has_request()),
        }
    }
}
