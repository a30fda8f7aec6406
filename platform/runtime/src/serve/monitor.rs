//! What a gRPC connection waits for, and since when.
//!
//! A body cannot notice that its client stopped reading: hyper does not poll a body while the stream's window is
//! closed, and h2 buffers data until the window opens. So each chunk of an answer carries a guard that is dropped with
//! the chunk, and the connection checks the age of the oldest guard.

use crate::deadlines;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    IdleConnection,
    capacity::{BufferedBytes, Capacity},
};

/// The least bytes of a client's handshake: the preface and the header of its settings.
const MIN_HANDSHAKE: usize = 24 + 9;
/// A client is slow if an answer has been unread for this long.
const SLOW_AFTER: Duration = Duration::from_millis(100);
/// A slow client with this many unread chunks gets no further answers.
const MAX_UNREAD: usize = 16;

/// Timeouts of a gRPC connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcTimeouts {
    /// For the client's HTTP/2 preface and settings.
    pub handshake: Duration,
    /// Without a call.
    pub idle: Duration,
    /// For the client to read an answer that is ready.
    pub answer: Duration,
    /// Age of the connection, plus a random part of up to the same length, so that clients do not reconnect all at
    /// once. By reconnecting, clients find new replicas behind one name.
    pub max_age: Duration,
    /// For calls in flight on a connection that is too old. Longer than a handler and reading its answer may take.
    pub grace: Duration,
}

impl Default for GrpcTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_mins(2),
            answer: deadlines::TAKE_ANSWER,
            max_age: Duration::from_mins(5),
            grace: deadlines::LAST_CALLS,
        }
    }
}

/// When each transfer began, by its id.
type StartTimes = BTreeMap<u64, Instant>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The handshake did not arrive.
    NoHandshake,
    /// The client does not read an answer.
    UnreadAnswer,
    /// Under memory pressure, a request stays incomplete.
    SlowRequest,
    /// The client was sent GOAWAY and did not leave.
    Lingering,
    /// GOAWAY: the connection has no call, is too old, or its permit is needed.
    GoAway,
    /// The permit is needed, and the connection carries neither calls nor streams.
    Unused,
}

/// Monitors one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionMonitor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: Capacity,
    timeouts: GrpcTimeouts,
    opened: Instant,
    /// Ends streams that have no natural end.
    streams: CancellationToken,
    /// Notified when another connection needs this one's permit.
    evict: Arc<Notify>,
    state: Mutex<MonitorState>,
}

#[derive(Debug)]
struct MonitorState {
    read: usize,
    calls: usize,
    streams: usize,
    /// Since when there has been no call, stream or transfer.
    quiet_since: Instant,
    leaving_since: Option<Instant>,
    /// Set while there is no call.
    idle: Option<IdleConnection>,
    next: u64,
    requests: StartTimes,
    answers: StartTimes,
}

impl ConnectionMonitor {
    /// `stop` ends all streams.
    pub(super) fn new(capacity: Capacity, timeouts: GrpcTimeouts, stop: &CancellationToken) -> Self {
        let opened = Instant::now();
        let evict = Arc::new(Notify::new());
        let idle = capacity.idle(&evict);
        Self(Arc::new(Shared {
            capacity,
            timeouts: GrpcTimeouts {
                max_age: timeouts.max_age + timeouts.max_age.mul_f64(fastrand::f64()),
                ..timeouts
            },
            opened,
            streams: stop.child_token(),
            evict,
            state: Mutex::new(MonitorState {
                read: 0,
                calls: 0,
                streams: 0,
                quiet_since: opened,
                leaving_since: None,
                idle: Some(idle),
                next: 0,
                requests: StartTimes::new(),
                answers: StartTimes::new(),
            }),
        }))
    }

    fn state(&self) -> MutexGuard<'_, MonitorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports bytes read from the client.
    pub(super) fn received(&self, bytes: usize) {
        let mut state = self.state();
        state.read = state.read.saturating_add(bytes);
    }

    pub(super) fn has_received(&self) -> bool {
        self.state().read > 0
    }

    /// Whether there is neither a call nor a stream.
    pub(super) fn is_unused(&self) -> bool {
        self.state().is_unused()
    }

    /// Cancelled when streams must end.
    pub(super) fn streams(&self) -> &CancellationToken {
        &self.0.streams
    }

    /// Counts a call until the guard is dropped.
    pub(super) fn call(&self, kind: CallKind) -> CallGuard {
        let mut state = self.state();
        *kind.count(&mut state) += 1;
        if kind == CallKind::Work {
            state.idle = None;
        }
        drop(state);
        CallGuard {
            monitor: self.clone(),
            kind,
        }
    }

    /// Waits until there is memory for one more answer. Calls of a slow client wait until it has few unread chunks.
    /// In-process calls do not wait: one connection carries those of all customers, and is slow when the process is
    /// busy.
    pub(super) async fn wait_for_memory(&self) {
        if !self.0.capacity.is_bounded() {
            return;
        }
        let is_slow = || oldest(&self.state().answers).is_some_and(|age| age >= SLOW_AFTER);
        while is_slow() && self.state().answers.len() >= MAX_UNREAD {
            tokio::time::sleep(SLOW_AFTER).await;
        }
        self.0.capacity.wait_for_memory(is_slow).await;
    }

    /// Whether memory is too short for a chunk of this size.
    pub(super) fn refuses(&self, bytes: usize) -> bool {
        self.0.capacity.refuses(bytes)
    }

    /// Tracks a request while it arrives.
    pub(super) fn request(&self) -> Transfer {
        self.transfer(|state| &mut state.requests, self.0.capacity.request())
    }

    /// Tracks a chunk of an answer until it is sent.
    pub(super) fn answer(&self, bytes: usize) -> Transfer {
        self.transfer(|state| &mut state.answers, self.0.capacity.answer(bytes))
    }

    fn transfer(&self, which: fn(&mut MonitorState) -> &mut StartTimes, buffered: BufferedBytes) -> Transfer {
        let id = {
            let mut state = self.state();
            let id = state.next;
            state.next += 1;
            which(&mut state).insert(id, Instant::now());
            id
        };
        Transfer {
            buffered,
            monitor: self.clone(),
            which,
            id,
        }
    }

    /// The client was sent GOAWAY: streams end, and the connection follows soon.
    pub(super) fn go_away(&self) {
        self.state().leaving_since.get_or_insert_with(Instant::now);
        self.0.streams.cancel();
    }

    /// Resolves when the connection must be closed. Polls, because other tasks change the state.
    pub(super) async fn close_reason(&self) -> CloseReason {
        let GrpcTimeouts {
            handshake,
            idle,
            answer,
            max_age,
            ..
        } = self.0.timeouts;
        let least = handshake.min(idle).min(answer).min(max_age);
        let mut ticks = interval((least / 4).clamp(Duration::from_millis(5), Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let close_reason = tokio::select! {
                _ = ticks.tick() => self.check(None),
                () = self.0.capacity.pressure() => self.check(Some(Capacity::PRESSURE_TIMEOUT)),
                () = self.0.evict.notified() => self.on_evict(),
            };
            if let Some(close_reason) = close_reason {
                return close_reason;
            }
        }
    }

    /// Another connection needs the permit of this one, which had been idle when it was chosen.
    fn on_evict(&self) -> Option<CloseReason> {
        let state = self.state();
        if state.read < MIN_HANDSHAKE {
            return Some(CloseReason::NoHandshake);
        }
        if state.is_unused() && state.answers.is_empty() {
            return Some(CloseReason::Unused);
        }
        let may_leave = state.calls == 0 && state.leaving_since.is_none();
        may_leave.then_some(CloseReason::GoAway)
    }

    /// Which timeout has passed, if any. Under pressure, nothing may wait for the client longer than `limit`.
    fn check(&self, limit: Option<Duration>) -> Option<CloseReason> {
        let state = self.state();
        let timeouts = &self.0.timeouts;
        let within = |usual: Duration| limit.map_or(usual, |limit| limit.min(usual));
        if state.read < MIN_HANDSHAKE {
            return (self.0.opened.elapsed() >= within(timeouts.handshake)).then_some(CloseReason::NoHandshake);
        }
        let is_unread = oldest(&state.answers).is_some_and(|age| age >= within(timeouts.answer));
        if is_unread && self.0.capacity.is_bounded() {
            return Some(CloseReason::UnreadAnswer);
        }
        let is_late = limit.zip(oldest(&state.requests)).is_some_and(|(max, age)| age >= max);
        if is_late {
            return Some(CloseReason::SlowRequest);
        }
        if let Some(since) = state.leaving_since {
            let is_done = state.calls == 0 && state.answers.is_empty();
            let is_lingering = if is_done {
                since.max(state.quiet_since).elapsed() >= within(timeouts.handshake)
            } else {
                since.elapsed() >= timeouts.grace
            };
            return is_lingering.then_some(CloseReason::Lingering);
        }
        // Health and reflection streams may keep a connection as long as permits are free.
        let is_idle = state.is_unused() && state.quiet_since.elapsed() >= timeouts.idle;
        let is_old = self.0.opened.elapsed() >= timeouts.max_age;
        (is_idle || is_old).then_some(CloseReason::GoAway)
    }
}

impl MonitorState {
    const fn is_unused(&self) -> bool {
        self.calls == 0 && self.streams == 0
    }
}

fn oldest(items: &StartTimes) -> Option<Duration> {
    items.first_key_value().map(|(_, since)| since.elapsed())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Work,
    /// Health and reflection, which may stream.
    Stream,
}

impl CallKind {
    fn count(self, state: &mut MonitorState) -> &mut usize {
        match self {
            Self::Work => &mut state.calls,
            Self::Stream => &mut state.streams,
        }
    }
}

/// A call in progress. Dropping the guard ends it.
#[derive(Debug)]
pub(super) struct CallGuard {
    monitor: ConnectionMonitor,
    kind: CallKind,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut state = self.monitor.state();
        *self.kind.count(&mut state) -= 1;
        state.quiet_since = Instant::now();
        if state.calls == 0 && state.idle.is_none() {
            state.idle = Some(self.monitor.0.capacity.idle(&self.monitor.0.evict));
        }
    }
}

/// A request that arrives, or a chunk that is being sent, until it is dropped.
#[derive(Debug)]
pub(super) struct Transfer {
    buffered: BufferedBytes,
    monitor: ConnectionMonitor,
    which: fn(&mut MonitorState) -> &mut StartTimes,
    id: u64,
}

impl Transfer {
    /// False if the request must be rejected.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.buffered.grow(bytes);
        !self.buffered.must_reject()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut state = self.monitor.state();
        (self.which)(&mut state).remove(&self.id);
        state.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn monitor(capacity: Capacity) -> ConnectionMonitor {
        let monitor = ConnectionMonitor::new(capacity, GrpcTimeouts::default(), &CancellationToken::new());
        monitor.received(MIN_HANDSHAKE);
        monitor
    }

    #[tokio::test(start_paused = true)]
    async fn an_in_process_connection_is_not_limited_by_unread_answers() {
        let (ours, theirs) = (monitor(Capacity::unbounded()), monitor(Capacity::new(1, 1)));
        let answers: Vec<_> = [&ours, &theirs]
            .into_iter()
            .flat_map(|monitor| (0..MAX_UNREAD).map(|_| monitor.answer(1)))
            .collect();
        tokio::time::advance(SLOW_AFTER).await;
        assert!(theirs.wait_for_memory().now_or_never().is_none());
        assert!(ours.wait_for_memory().now_or_never().is_some());
        tokio::time::advance(GrpcTimeouts::default().answer).await;
        assert_eq!(theirs.check(None), Some(CloseReason::UnreadAnswer));
        assert_eq!(ours.check(None), None);
        drop(answers);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leaving_connection_may_read_its_last_answer() {
        let usual = GrpcTimeouts::default();
        let monitor = monitor(Capacity::new(1, 1));
        let call = monitor.call(CallKind::Work);
        monitor.go_away();
        tokio::time::advance(usual.handshake).await;
        let answer = monitor.answer(1);
        drop(call);
        tokio::time::advance(usual.handshake).await;
        assert_eq!(monitor.check(None), None, "its answer is on its way");
        drop(answer);
        assert_eq!(
            monitor.check(Some(Capacity::PRESSURE_TIMEOUT)),
            None,
            "it has just been taken"
        );
        tokio::time::advance(usual.handshake).await;
        assert_eq!(monitor.check(None), Some(CloseReason::Lingering));
    }

    #[tokio::test(start_paused = true)]
    async fn an_evicted_connection_without_calls_is_closed_at_once() {
        let monitor = monitor(Capacity::new(1, 1));
        assert_eq!(monitor.on_evict(), Some(CloseReason::Unused));
        let answer = monitor.answer(1);
        assert_eq!(monitor.on_evict(), Some(CloseReason::GoAway));
        drop(answer);
        let stream = monitor.call(CallKind::Stream);
        assert_eq!(
            monitor.on_evict(),
            Some(CloseReason::GoAway),
            "its client is told first"
        );
        monitor.go_away();
        assert_eq!(monitor.on_evict(), None);
        drop(stream);
        assert_eq!(monitor.on_evict(), Some(CloseReason::Unused));
        let _call = monitor.call(CallKind::Work);
        assert_eq!(monitor.on_evict(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_in_progress_keeps_its_connection_under_pressure() {
        let usual = GrpcTimeouts::default();
        let monitor = monitor(Capacity::new(1, 1));
        let _call = monitor.call(CallKind::Work);
        monitor.go_away();
        tokio::time::advance(usual.handshake).await;
        assert_eq!(monitor.check(Some(Capacity::PRESSURE_TIMEOUT)), None);
        tokio::time::advance(usual.grace).await;
        assert_eq!(monitor.check(None), Some(CloseReason::Lingering));
    }
}
