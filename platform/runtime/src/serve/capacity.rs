//! How much the callers of a process may take of it: connections, and memory for what is on its way on these.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::idle::{Idle, Queue};
use crate::places::{Full, Place, Places};

/// What may be on its way on all connections, in bytes, before those that wait for their client are hurried: answers that
/// have not been taken, and half as much of requests that have not come whole.
const ROOM: usize = 32 * 1024 * 1024;
/// A request of which no more has come is small, and may go on coming even when there is no room. An answer that has no more
/// is given even then.
const SMALL: usize = 8 * 1024;
/// At so many times the room nobody gets an answer made, and none is given that is not small.
const OVERFULL: usize = 4;
/// All connections are told at most this often that there is too little for all.
const CALM: Duration = Duration::from_millis(250);
/// How often who waits for room looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The connections and the memory that some ports share. While there is too little for all, the connections that wait for
/// what their client has begun have little time to do so ([`Capacity::crowded`]); idle ones go when their place is needed
/// ([`Capacity::idle`]). Clones share it.
#[derive(Debug, Clone)]
pub struct Capacity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Places,
    room: usize,
    requests: AtomicUsize,
    answers: AtomicUsize,
    crowded: Notify,
    told: Mutex<Option<Instant>>,
    idle: Queue,
}

impl Capacity {
    /// How long a connection may wait for its client when there is too little for all.
    pub const SHORT_PATIENCE: Duration = Duration::from_secs(1);

    /// So many connections, and at most a share of them from one address (of IPv6: one /64).
    pub fn new(connections: usize, share: usize) -> Self {
        Self::with_room(Places::new(connections, share), ROOM)
    }

    /// With so many bytes of room.
    pub fn with_room(places: Places, room: usize) -> Self {
        Self(Arc::new(Shared {
            places,
            room,
            requests: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            crowded: Notify::new(),
            told: Mutex::new(None),
            idle: Queue::default(),
        }))
    }

    /// Connections from inside of this process: nobody else can make one.
    pub(super) fn unbounded() -> Self {
        Self::with_room(Places::new(usize::MAX, usize::MAX), usize::MAX)
    }

    /// Whether there are callers who could take too much.
    pub(super) fn is_bounded(&self) -> bool {
        self.0.room < usize::MAX
    }

    /// Takes a place for a connection from there.
    pub(super) fn admit(&self, from: IpAddr) -> Result<Place, Full> {
        let place = self.0.places.take(&network(from));
        if matches!(place, Err(Full::All)) {
            self.tell();
            self.0.idle.one_leaves();
        }
        place
    }

    /// Notes that a connection is idle, until the answer is dropped: it holds no memory, and so may stay while there is too
    /// little of that. When its place is needed, `leave` is told.
    pub fn idle(&self, leave: &Arc<Notify>) -> Idle {
        self.0.idle.join(leave)
    }

    /// Notes how many bytes of a request have come, until the answer is dropped. None at first.
    pub fn request(&self) -> Held {
        self.hold(|shared| &shared.requests)
    }

    /// Notes that so many bytes of an answer have not been taken, until the answer is dropped.
    pub fn answer(&self, bytes: usize) -> Held {
        let mut held = self.hold(|shared| &shared.answers);
        held.grow(bytes);
        held
    }

    /// Whether an answer of so many bytes should not be given: far too many have not been taken, and it is not small. Who had
    /// room when a call began need not have any when its answer is made.
    pub fn refuses(&self, bytes: usize) -> bool {
        bytes > SMALL && self.0.answers.load(Ordering::Relaxed) >= self.most()
    }

    /// So many bytes of answers are far too many.
    fn most(&self) -> usize {
        self.0.room.saturating_mul(OVERFULL)
    }

    fn hold(&self, what: fn(&Shared) -> &AtomicUsize) -> Held {
        Held {
            of: self.clone(),
            what,
            bytes: 0,
        }
    }

    /// Waits until there is room for one more answer. While there is too little, who takes its answers slowly waits first.
    pub(super) async fn room(&self, is_slow: impl Fn() -> bool + Send) {
        loop {
            let answers = self.0.answers.load(Ordering::Relaxed);
            let most = if is_slow() { self.0.room } else { self.most() };
            if answers < most {
                return;
            }
            self.tell();
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends when there is too little for all, again and again while that is so. Connections that have waited for their client
    /// longer than [`Self::SHORT_PATIENCE`] should end then.
    pub async fn crowded(&self) {
        while self.is_full() {
            tokio::time::sleep(CALM).await;
            if self.is_full() {
                return;
            }
        }
        self.0.crowded.notified().await;
    }

    fn is_full(&self) -> bool {
        self.is_full_of_requests() || self.0.answers.load(Ordering::Relaxed) >= self.0.room
    }

    fn is_full_of_requests(&self) -> bool {
        self.0.requests.load(Ordering::Relaxed) >= self.0.room / 2
    }

    fn tell(&self) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= CALM) {
            *told = Some(Instant::now());
            self.0.crowded.notify_waiters();
        }
    }
}

/// Bytes that are on their way, until this is dropped.
#[derive(Debug)]
pub struct Held {
    of: Capacity,
    what: fn(&Shared) -> &AtomicUsize,
    bytes: usize,
}

impl Held {
    /// Notes that there are more of them.
    pub fn grow(&mut self, bytes: usize) {
        (self.what)(&self.of.0).fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if self.of.is_full() {
            self.of.tell();
        }
    }

    /// Whether a request of which so much has come should be given up at once: there are too many of its kind.
    pub fn is_too_much(&self) -> bool {
        self.bytes > SMALL && self.of.is_full_of_requests()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.what)(&self.of.0).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whom an address counts for. A customer of IPv6 has a network of 64 bits, not one address.
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
    async fn who_finds_no_place_tells_those_that_have_one() {
        let capacity = Capacity::new(2, 1);
        let mut crowded = Box::pin(capacity.crowded());
        let from = |last| IpAddr::from([192, 0, 2, last]);
        let _first = capacity.admit(from(1)).unwrap();
        assert!(crowded.as_mut().now_or_never().is_none());
        assert_eq!(capacity.admit(from(1)).unwrap_err(), Full::Share);
        assert!(crowded.as_mut().now_or_never().is_none(), "there is one for others");
        let _second = capacity.admit(from(2)).unwrap();
        assert_eq!(capacity.admit(from(3)).unwrap_err(), Full::All);
        assert!(crowded.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_until_there_is_some_and_the_slow_wait_first() {
        let capacity = Capacity::with_room(Places::new(1, 1), 100);
        let (slow, swift) = (|| true, || false);
        let mut crowded = Box::pin(capacity.crowded());
        let answer = capacity.answer(60);
        assert!(crowded.as_mut().now_or_never().is_none());
        let mut request = capacity.request();
        request.grow(60);
        assert!(crowded.now_or_never().is_some(), "requests have half of the room");
        assert!(!request.is_too_much(), "it is small");
        request.grow(10_000);
        assert!(request.is_too_much());
        capacity.crowded().await;
        assert!(
            capacity.room(slow).now_or_never().is_some(),
            "there is room for answers"
        );
        assert!(!capacity.refuses(10_000));
        let more = capacity.answer(60);
        assert!(capacity.room(swift).now_or_never().is_some());
        let mut room = Box::pin(capacity.room(slow));
        assert!(room.as_mut().now_or_never().is_none());
        let most = capacity.answer(400);
        assert!(capacity.room(swift).now_or_never().is_none());
        assert!(
            capacity.refuses(10_000) && !capacity.refuses(100),
            "small ones are given"
        );
        drop((answer, more, most));
        room.await;
    }
}
