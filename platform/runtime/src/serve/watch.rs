//! What a connection of gRPC waits for, and since when.
//!
//! A body cannot find out that nobody takes it: hyper does not poll a body that waits for its stream's window, and h2 keeps
//! what it was given until the window lets it go. So every piece of an answer carries a note that goes when the piece does,
//! and whoever serves the connection looks at the oldest one.

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
    Idle,
    capacity::{Capacity, Held},
};

/// A client begins with so many bytes at least: the preface and the head of its settings.
const GREETING: usize = 24 + 9;
/// A client that has not taken an answer after so long is slow.
const SLOW: Duration = Duration::from_millis(100);
/// So many pieces of answers that were not taken are many.
const UNREAD: usize = 16;

/// How long a connection of gRPC may take for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the client to begin: with the preface of HTTP/2 and its settings.
    pub handshake: Duration,
    /// Without a call.
    pub idle: Duration,
    /// For the client to take an answer that is ready.
    pub answer: Duration,
    /// In all; up to as long again, by chance, or all clients would come back at once. They connect anew then, and so find
    /// replicas that came later behind one name.
    pub age: Duration,
    /// For what is in flight once the connection is too old. Longer than a handler and its answer may take.
    pub grace: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_mins(2),
            answer: deadlines::TAKE_ANSWER,
            age: Duration::from_mins(5),
            grace: deadlines::LAST_CALLS,
        }
    }
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It has not begun.
    Silent,
    /// Nobody takes an answer.
    Unread,
    /// A request does not arrive whole, and there is too little for all.
    Unfinished,
    /// It was told to leave and has not left.
    Lingering,
    /// There is no call, or it is too old, or its place is needed: it is told to leave.
    Dismissed,
    /// Its place is needed, and there is nothing on it that could be waited for.
    Unused,
}

/// Watches one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: Capacity,
    patience: Patience,
    opened: Instant,
    /// Ends streams that go on until their client or the service ends them.
    streams: CancellationToken,
    /// Told when others need this connection's place.
    leave: Arc<Notify>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    read: usize,
    calls: usize,
    streams: usize,
    /// Since when there has been no call, and nothing on its way.
    quiet_since: Instant,
    leaving_since: Option<Instant>,
    /// While there is no call.
    idle: Option<Idle>,
    next: u64,
    requests: BTreeMap<u64, Instant>,
    answers: BTreeMap<u64, Instant>,
}

impl Watch {
    /// `stop` ends all streams.
    pub(super) fn new(capacity: Capacity, patience: Patience, stop: &CancellationToken) -> Self {
        let opened = Instant::now();
        let leave = Arc::new(Notify::new());
        let idle = capacity.idle(&leave);
        Self(Arc::new(Shared {
            capacity,
            patience: Patience {
                age: patience.age + patience.age.mul_f64(fastrand::f64()),
                ..patience
            },
            opened,
            streams: stop.child_token(),
            leave,
            now: Mutex::new(Now {
                read: 0,
                calls: 0,
                streams: 0,
                quiet_since: opened,
                leaving_since: None,
                idle: Some(idle),
                next: 0,
                requests: BTreeMap::new(),
                answers: BTreeMap::new(),
            }),
        }))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    pub(super) fn came(&self, bytes: usize) {
        let mut now = self.now();
        now.read = now.read.saturating_add(bytes);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.now().read > 0
    }

    /// Whether there is neither a call nor a stream.
    pub(super) fn is_unused(&self) -> bool {
        self.now().is_unused()
    }

    /// Cancelled when streams are to end.
    pub(super) fn streams(&self) -> &CancellationToken {
        &self.0.streams
    }

    /// A call is in progress, until this is dropped.
    pub(super) fn call(&self, kind: Kind) -> Call {
        let mut now = self.now();
        *kind.count(&mut now) += 1;
        if kind == Kind::Work {
            now.idle = None;
        }
        drop(now);
        Call {
            watch: self.clone(),
            kind,
        }
    }

    /// Waits until there is room for one more answer. Who is slow and has much to take gets no more made meanwhile. Within the
    /// process nobody waits: one connection carries the calls of all customers there, and a slow one is a busy process.
    pub(super) async fn room(&self) {
        if !self.0.capacity.is_bounded() {
            return;
        }
        let is_slow = || oldest(&self.now().answers).is_some_and(|age| age >= SLOW);
        while is_slow() && self.now().answers.len() >= UNREAD {
            tokio::time::sleep(SLOW).await;
        }
        self.0.capacity.room(is_slow).await;
    }

    /// Whether there is no room for a piece of an answer of this size.
    pub(super) fn refuses(&self, bytes: usize) -> bool {
        self.0.capacity.refuses(bytes)
    }

    /// A request that arrives.
    pub(super) fn request(&self) -> OnItsWay {
        self.on_its_way(|now| &mut now.requests, self.0.capacity.request())
    }

    /// A piece of an answer.
    pub(super) fn answer(&self, bytes: usize) -> OnItsWay {
        self.on_its_way(|now| &mut now.answers, self.0.capacity.answer(bytes))
    }

    fn on_its_way(&self, which: fn(&mut Now) -> &mut BTreeMap<u64, Instant>, held: Held) -> OnItsWay {
        let id = {
            let mut now = self.now();
            let id = now.next;
            now.next += 1;
            which(&mut now).insert(id, Instant::now());
            id
        };
        OnItsWay {
            held,
            watch: self.clone(),
            which,
            id,
        }
    }

    /// The connection was told to leave: streams end, and so does it, soon.
    pub(super) fn leave(&self) {
        self.now().leaving_since.get_or_insert_with(Instant::now);
        self.0.streams.cancel();
    }

    /// Ends when something has taken too long. It looks from time to time: what it watches changes in other tasks.
    pub(super) async fn overdue(&self) -> Overdue {
        let Patience {
            handshake,
            idle,
            answer,
            age,
            ..
        } = self.0.patience;
        let least = handshake.min(idle).min(answer).min(age);
        let mut looks = interval((least / 4).clamp(Duration::from_millis(5), Duration::from_secs(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let overdue = tokio::select! {
                _ = looks.tick() => self.judge(None),
                () = self.0.capacity.crowded() => self.judge(Some(Capacity::SHORT_PATIENCE)),
                () = self.0.leave.notified() => self.make_room(),
            };
            if let Some(overdue) = overdue {
                return overdue;
            }
        }
    }

    /// Others need the place of this connection, which had had no call for a while when that was found out.
    fn make_room(&self) -> Option<Overdue> {
        let now = self.now();
        if now.read < GREETING {
            return Some(Overdue::Silent);
        }
        if now.is_unused() && now.answers.is_empty() {
            return Some(Overdue::Unused);
        }
        let may_leave = now.calls == 0 && now.leaving_since.is_none();
        may_leave.then_some(Overdue::Dismissed)
    }

    /// What has taken too long. When there is too little for all, nothing that was begun may take longer than `most`.
    fn judge(&self, most: Option<Duration>) -> Option<Overdue> {
        let now = self.now();
        let patience = &self.0.patience;
        let within = |usual: Duration| most.map_or(usual, |most| most.min(usual));
        if now.read < GREETING {
            return (self.0.opened.elapsed() >= within(patience.handshake)).then_some(Overdue::Silent);
        }
        let is_unread = oldest(&now.answers).is_some_and(|age| age >= within(patience.answer));
        if is_unread && self.0.capacity.is_bounded() {
            return Some(Overdue::Unread);
        }
        let is_late = most.zip(oldest(&now.requests)).is_some_and(|(most, age)| age >= most);
        if is_late {
            return Some(Overdue::Unfinished);
        }
        if let Some(since) = now.leaving_since {
            let is_done = now.calls == 0 && now.answers.is_empty();
            let is_lingering = if is_done {
                since.max(now.quiet_since).elapsed() >= within(patience.handshake)
            } else {
                since.elapsed() >= patience.grace
            };
            return is_lingering.then_some(Overdue::Lingering);
        }
        // Streams about the server are worth a connection while there are enough.
        let is_idle = now.is_unused() && now.quiet_since.elapsed() >= patience.idle;
        let is_old = self.0.opened.elapsed() >= patience.age;
        (is_idle || is_old).then_some(Overdue::Dismissed)
    }
}

impl Now {
    const fn is_unused(&self) -> bool {
        self.calls == 0 && self.streams == 0
    }
}

/// How long ago the oldest of these began.
fn oldest(items: &BTreeMap<u64, Instant>) -> Option<Duration> {
    items.first_key_value().map(|(_, since)| since.elapsed())
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Work,
    /// Health and reflection, which stream.
    Stream,
}

impl Kind {
    fn count(self, now: &mut Now) -> &mut usize {
        match self {
            Self::Work => &mut now.calls,
            Self::Stream => &mut now.streams,
        }
    }
}

/// A call in progress, until it is dropped.
#[derive(Debug)]
pub(super) struct Call {
    watch: Watch,
    kind: Kind,
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut now = self.watch.now();
        *self.kind.count(&mut now) -= 1;
        now.quiet_since = Instant::now();
        if now.calls == 0 && now.idle.is_none() {
            now.idle = Some(self.watch.0.capacity.idle(&self.watch.0.leave));
        }
    }
}

/// A request that arrives, or a piece of an answer that leaves, until it is dropped.
#[derive(Debug)]
pub(super) struct OnItsWay {
    held: Held,
    watch: Watch,
    which: fn(&mut Now) -> &mut BTreeMap<u64, Instant>,
    id: u64,
}

impl OnItsWay {
    /// Notes that there is more of it. False when there is too much of its kind.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.held.grow(bytes);
        !self.held.is_too_much()
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut now = self.watch.now();
        (self.which)(&mut now).remove(&self.id);
        now.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn watch(capacity: Capacity) -> Watch {
        let watch = Watch::new(capacity, Patience::default(), &CancellationToken::new());
        watch.came(GREETING);
        watch
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_within_the_process_waits_for_no_answer_that_is_not_taken_and_is_not_cut_for_it() {
        let (ours, theirs) = (watch(Capacity::unbounded()), watch(Capacity::new(1, 1)));
        let answers: Vec<_> = [&ours, &theirs]
            .into_iter()
            .flat_map(|watch| (0..UNREAD).map(|_| watch.answer(1)))
            .collect();
        tokio::time::advance(SLOW).await;
        assert!(theirs.room().now_or_never().is_none());
        assert!(ours.room().now_or_never().is_some());
        tokio::time::advance(Patience::default().answer).await;
        assert_eq!(theirs.judge(None), Some(Overdue::Unread));
        assert_eq!(ours.judge(None), None);
        drop(answers);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_leaves_may_take_its_last_answer_first() {
        let usual = Patience::default();
        let watch = watch(Capacity::new(1, 1));
        let call = watch.call(Kind::Work);
        watch.leave();
        tokio::time::advance(usual.handshake).await;
        let answer = watch.answer(1);
        drop(call);
        tokio::time::advance(usual.handshake).await;
        assert_eq!(watch.judge(None), None, "its answer is on its way");
        drop(answer);
        assert_eq!(
            watch.judge(Some(Capacity::SHORT_PATIENCE)),
            None,
            "it has just been taken"
        );
        tokio::time::advance(usual.handshake).await;
        assert_eq!(watch.judge(None), Some(Overdue::Lingering));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_place_is_needed_is_not_waited_for_when_nothing_is_on_it() {
        let watch = watch(Capacity::new(1, 1));
        assert_eq!(watch.make_room(), Some(Overdue::Unused));
        let answer = watch.answer(1);
        assert_eq!(watch.make_room(), Some(Overdue::Dismissed));
        drop(answer);
        let stream = watch.call(Kind::Stream);
        assert_eq!(watch.make_room(), Some(Overdue::Dismissed), "its client is told first");
        watch.leave();
        assert_eq!(watch.make_room(), None);
        drop(stream);
        assert_eq!(watch.make_room(), Some(Overdue::Unused));
        let _call = watch.call(Kind::Work);
        assert_eq!(watch.make_room(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_worked_on_keeps_its_connection_when_there_is_too_little_for_all() {
        let usual = Patience::default();
        let watch = watch(Capacity::new(1, 1));
        let _call = watch.call(Kind::Work);
        watch.leave();
        tokio::time::advance(usual.handshake).await;
        assert_eq!(watch.judge(Some(Capacity::SHORT_PATIENCE)), None);
        tokio::time::advance(usual.grace).await;
        assert_eq!(watch.judge(None), Some(Overdue::Lingering));
    }
}
