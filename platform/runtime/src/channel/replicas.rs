//! The replicas of a service, which take turns.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tonic::transport::Channel;

/// How long a replica is passed over whose connection was lost, while there are others.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// So many calls a connection gets before the next one is made: half of what a service takes on one, so that no call waits
/// behind others that hang.
const MANY: usize = 64;

/// Each of them by its address; at least one.
pub(super) struct Replicas {
    all: Vec<Replica>,
    turn: AtomicUsize,
}

/// One of them, and the channels to it: at least one. Those that are not needed never connect.
pub(super) struct Replica {
    index: usize,
    lines: Vec<Line>,
    lost_at: Mutex<Option<Instant>>,
}

/// A channel, and how many calls are in flight on it.
struct Line {
    channel: Channel,
    calls: AtomicUsize,
}

/// A call in flight, until it is dropped.
pub(super) struct InFlight<'a>(&'a AtomicUsize);

impl Replicas {
    /// The channels of each address.
    pub(super) fn new(addresses: Vec<Vec<Channel>>) -> Self {
        let line = |channel| Line {
            channel,
            calls: AtomicUsize::new(0),
        };
        let replica = |(index, channels): (usize, Vec<Channel>)| Replica {
            index,
            lines: channels.into_iter().map(line).collect(),
            lost_at: Mutex::new(None),
        };
        Self {
            all: addresses.into_iter().enumerate().map(replica).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Whose turn it is: one that is not known to be away, if there is one, and not the one that was just tried.
    pub(super) fn next(&self, tried: Option<usize>) -> &Replica {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.all.len();
        let in_turn = (0..count).map(|step| &self.all[turn.wrapping_add(step) % count]);
        let others = in_turn.clone().filter(|replica| Some(replica.index) != tried);
        others
            .clone()
            .find(|replica| replica.is_there())
            .or_else(|| others.clone().next())
            .unwrap_or_else(|| &self.all[turn % count])
    }
}

impl Replica {
    /// The channel for one more call: the first one that has not many, or else the one that has fewest.
    pub(super) fn channel(&self) -> (Channel, InFlight<'_>) {
        let has = |line: &&Line| line.calls.load(Ordering::Relaxed);
        let first = self.lines.iter().find(|line| has(line) < MANY);
        let line = first
            .or_else(|| self.lines.iter().min_by_key(has))
            .unwrap_or(&self.lines[0]);
        line.calls.fetch_add(1, Ordering::Relaxed);
        (line.channel.clone(), InFlight(&line.calls))
    }

    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// Notes that a call to it got no answer.
    pub(super) fn lost(&self) {
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_there(&self) -> bool {
        let lost_at = *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        lost_at.is_none_or(|at| at.elapsed() >= PASSED_OVER)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    /// Replicas with two channels each.
    fn replicas(count: usize) -> Replicas {
        let channels = || (0..2).map(|_| Endpoint::from_static("http://nowhere").connect_lazy());
        Replicas::new((0..count).map(|_| channels().collect()).collect())
    }

    fn in_flight(replica: &Replica) -> Vec<usize> {
        let lines = replica.lines.iter();
        lines.map(|line| line.calls.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_take_turns_and_one_that_is_away_is_passed_over_for_a_while() {
        let three = replicas(3);
        let picked: Vec<_> = (0..6).map(|_| three.next(None).index()).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
        three.all[1].lost();
        assert!((0..6).all(|_| three.next(None).index() != 1));
        tokio::time::advance(PASSED_OVER).await;
        assert!((0..3).any(|_| three.next(None).index() == 1));
    }

    #[tokio::test]
    async fn the_one_that_was_just_tried_is_only_tried_again_when_it_is_alone() {
        let two = replicas(2);
        two.all[0].lost();
        two.all[1].lost();
        assert!((0..4).all(|_| two.next(Some(0)).index() == 1));
        assert_eq!(replicas(1).next(Some(0)).index(), 0);
    }

    #[tokio::test]
    async fn one_connection_carries_what_it_can_and_the_next_one_is_made_for_what_is_more() {
        let replicas = replicas(1);
        let replica = replicas.next(None);
        for _ in 0..=MANY {
            drop(replica.channel());
        }
        let calls: Vec<_> = (0..MANY).map(|_| replica.channel()).collect();
        assert_eq!(
            in_flight(replica),
            [MANY, 0],
            "calls that follow one another need one connection"
        );
        let more: Vec<_> = (0..MANY + 4).map(|_| replica.channel()).collect();
        assert_eq!(in_flight(replica), [MANY + 2, MANY + 2]);
        drop(calls);
        drop(more);
        assert_eq!(in_flight(replica), [0, 0]);
    }
}
