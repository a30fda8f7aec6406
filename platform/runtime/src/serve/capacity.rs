//! Limits what all callers of a process may use: connections, and memory for partial requests and unread answers.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::idle::{IdleConnection, IdleQueue};
use crate::permits::{LimitReached, Permit, Permits};

/// Pressure begins at this many bytes of unread answers on all connections, or at half as many of partial requests.
const MEMORY: usize = 32 * 1024 * 1024;
/// Smaller requests may go on arriving under pressure, and smaller answers are always sent.
const SMALL: usize = 8 * 1024;
/// At this multiple of the memory, no new answer is made, and only small answers are sent.
const HARD_LIMIT_FACTOR: usize = 4;
/// The least time between two notifications about pressure.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(250);
/// How often a call that waits for memory checks again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The connections and memory that some ports share. Under pressure, connections that wait for their client get a short
/// timeout ([`Capacity::pressure`]). Idle connections may be evicted ([`Capacity::idle`]). Clones share it.
#[derive(Debug, Clone)]
pub struct Capacity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connections: Permits,
    memory: usize,
    requests: AtomicUsize,
    answers: AtomicUsize,
    pressure: Notify,
    notified_at: Mutex<Option<Instant>>,
    idle: IdleQueue,
}

impl Capacity {
    /// How long a connection may wait for its client under pressure.
    pub(crate) const PRESSURE_TIMEOUT: Duration = Duration::from_secs(1);

    /// `connections` in all, and `share` of them for one address (of IPv6: one /64).
    pub fn new(connections: usize, share: usize) -> Self {
        Self::with_memory(Permits::new(connections, share), MEMORY)
    }

    /// With a memory limit in bytes.
    pub fn with_memory(connections: Permits, memory: usize) -> Self {
        Self(Arc::new(Shared {
            connections,
            memory,
            requests: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            pressure: Notify::new(),
            notified_at: Mutex::new(None),
            idle: IdleQueue::default(),
        }))
    }

    /// For in-process connections, which only this process can make.
    pub(super) fn unbounded() -> Self {
        Self::with_memory(Permits::new(usize::MAX, usize::MAX), usize::MAX)
    }

    /// Whether there is a limit at all.
    pub(super) fn is_bounded(&self) -> bool {
        self.0.memory < usize::MAX
    }

    /// Acquires a permit for a connection from this address.
    pub(super) fn admit(&self, from: IpAddr) -> Result<Permit, LimitReached> {
        let permit = self.0.connections.try_acquire(&network(from));
        if matches!(permit, Err(LimitReached::Total)) {
            self.notify();
            self.0.idle.evict_longest_idle();
        }
        permit
    }

    /// Marks a connection as idle until the result is dropped. Idle connections hold no memory, so memory pressure does
    /// not close them. `evict` is notified when the permit is needed.
    pub(crate) fn idle(&self, evict: &Arc<Notify>) -> IdleConnection {
        self.0.idle.enter(evict)
    }

    /// Counts the bytes of a partial request, at first none, until the result is dropped.
    pub(crate) fn request(&self) -> BufferedBytes {
        self.buffer(|shared| &shared.requests)
    }

    /// Counts the bytes of an unread answer until the result is dropped.
    pub fn answer(&self, bytes: usize) -> BufferedBytes {
        let mut buffered = self.buffer(|shared| &shared.answers);
        buffered.grow(bytes);
        buffered
    }

    /// Whether to withhold an answer of this size: it is not small, and unread answers exceed the hard limit. Memory
    /// that was free when the call began may be used up when its answer is ready.
    pub(crate) fn refuses(&self, bytes: usize) -> bool {
        bytes > SMALL && self.0.answers.load(Ordering::Relaxed) >= self.hard_limit()
    }

    /// The most bytes of unread answers.
    fn hard_limit(&self) -> usize {
        self.0.memory.saturating_mul(HARD_LIMIT_FACTOR)
    }

    fn buffer(&self, what: fn(&Shared) -> &AtomicUsize) -> BufferedBytes {
        BufferedBytes {
            of: self.clone(),
            what,
            bytes: 0,
        }
    }

    /// Waits until there is memory for one more answer. Under pressure, slow readers wait first.
    pub(super) async fn wait_for_memory(&self, is_slow: impl Fn() -> bool + Send) {
        loop {
            let answers = self.0.answers.load(Ordering::Relaxed);
            let limit = if is_slow() { self.0.memory } else { self.hard_limit() };
            if answers < limit {
                return;
            }
            self.notify();
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Resolves when there is pressure, again and again while it lasts. Then connections that have waited for their
    /// client longer than [`Self::PRESSURE_TIMEOUT`] should end.
    pub(crate) async fn pressure(&self) {
        while self.is_under_pressure() {
            tokio::time::sleep(NOTIFY_INTERVAL).await;
            if self.is_under_pressure() {
                return;
            }
        }
        self.0.pressure.notified().await;
    }

    fn is_under_pressure(&self) -> bool {
        self.requests_are_over_limit() || self.0.answers.load(Ordering::Relaxed) >= self.0.memory
    }

    fn requests_are_over_limit(&self) -> bool {
        self.0.requests.load(Ordering::Relaxed) >= self.0.memory / 2
    }

    fn notify(&self) {
        let mut notified_at = self.0.notified_at.lock().unwrap_or_else(PoisonError::into_inner);
        if notified_at.is_none_or(|at| at.elapsed() >= NOTIFY_INTERVAL) {
            *notified_at = Some(Instant::now());
            self.0.pressure.notify_waiters();
        }
    }
}

/// Counts buffered bytes until it is dropped.
#[derive(Debug)]
pub struct BufferedBytes {
    of: Capacity,
    what: fn(&Shared) -> &AtomicUsize,
    bytes: usize,
}

impl BufferedBytes {
    pub(crate) fn grow(&mut self, bytes: usize) {
        (self.what)(&self.of.0).fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if self.of.is_under_pressure() {
            self.of.notify();
        }
    }

    /// Whether to reject this partial request at once: it is not small, and partial requests exceed their limit.
    pub(crate) fn must_reject(&self) -> bool {
        self.bytes > SMALL && self.of.requests_are_over_limit()
    }
}

impl Drop for BufferedBytes {
    fn drop(&mut self) {
        (self.what)(&self.of.0).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The network that an address counts for: a customer with IPv6 has a /64, not one address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_connection_causes_pressure() {
        let capacity = Capacity::new(2, 1);
        let mut pressure = Box::pin(capacity.pressure());
        let from = |last| IpAddr::from([192, 0, 2, last]);
        let _first = capacity.admit(from(1)).unwrap();
        assert!(pressure.as_mut().now_or_never().is_none());
        assert_eq!(capacity.admit(from(1)).unwrap_err(), LimitReached::PerCaller);
        assert!(pressure.as_mut().now_or_never().is_none(), "there is one for others");
        let _second = capacity.admit(from(2)).unwrap();
        assert_eq!(capacity.admit(from(3)).unwrap_err(), LimitReached::Total);
        assert!(pressure.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_for_memory_and_slow_readers_wait_first() {
        let capacity = Capacity::with_memory(Permits::new(1, 1), 100);
        let (slow, swift) = (|| true, || false);
        let mut pressure = Box::pin(capacity.pressure());
        let answer = capacity.answer(60);
        assert!(pressure.as_mut().now_or_never().is_none());
        let mut request = capacity.request();
        request.grow(60);
        assert!(pressure.now_or_never().is_some(), "requests have half of the memory");
        assert!(!request.must_reject(), "it is small");
        request.grow(10_000);
        assert!(request.must_reject());
        capacity.pressure().await;
        assert!(
            capacity.wait_for_memory(slow).now_or_never().is_some(),
            "answers have memory left"
        );
        assert!(!capacity.refuses(10_000));
        let more = capacity.answer(60);
        assert!(capacity.wait_for_memory(swift).now_or_never().is_some());
        let mut waiting = Box::pin(capacity.wait_for_memory(slow));
        assert!(waiting.as_mut().now_or_never().is_none());
        let many = capacity.answer(400);
        assert!(capacity.wait_for_memory(swift).now_or_never().is_none());
        assert!(
            capacity.refuses(10_000) && !capacity.refuses(100),
            "small ones are given"
        );
        drop((answer, more, many));
        waiting.await;
    }
}
