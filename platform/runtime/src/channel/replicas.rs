//! The replicas of a service, which take turns, and the connections to each.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tonic::transport::Channel;

/// For how long a replica whose first connection was lost is passed over while there are other replicas, and a further
/// connection that was lost is not used.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// A further connection is made when all others carry this many calls. It is half of what a service takes on one connection,
/// so that no call waits behind calls that hang.
const MANY: usize = 64;

/// All replicas of one service: at least one.
pub(super) struct Replicas {
    all: Vec<Replica>,
    turn: AtomicUsize,
}

/// One replica and its connections: at least one. Further connections are made when they are needed. A replica that takes no
/// further connection may still be well.
pub(super) struct Replica {
    index: usize,
    connections: Vec<Connection>,
}

struct Connection {
    channel: Channel,
    /// In flight.
    calls: AtomicUsize,
    lost_at: Mutex<Option<Instant>>,
}

/// A connection for one call, which is in flight on it until this is dropped.
pub(super) struct Line<'a>(&'a Connection);

impl Replicas {
    /// The channels of each address.
    pub(super) fn new(addresses: Vec<Vec<Channel>>) -> Self {
        let connection = |channel| Connection {
            channel,
            calls: AtomicUsize::new(0),
            lost_at: Mutex::new(None),
        };
        let replica = |(index, channels): (usize, Vec<Channel>)| Replica {
            index,
            connections: channels.into_iter().map(connection).collect(),
        };
        Self {
            all: addresses.into_iter().enumerate().map(replica).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Whose turn it is: one that is not known to be away, if there is one, and rather not the one that was just tried.
    pub(super) fn next(&self, tried: Option<usize>) -> &Replica {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.all.len();
        let in_turn = (0..count).map(|step| &self.all[turn.wrapping_add(step) % count]);
        let others = in_turn.clone().filter(|replica| Some(replica.index) != tried);
        others
            .clone()
            .chain(in_turn)
            .find(|replica| replica.is_there())
            .or_else(|| others.clone().next())
            .unwrap_or_else(|| &self.all[turn % count])
    }
}

impl Replica {
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// For a new call: the first connection with fewer than [`MANY`] calls, or else the connection with the fewest. A further
    /// connection that was lost, or could not be made, is left out for a while. The first connection never is.
    pub(super) fn line(&self) -> Line<'_> {
        let first = &self.connections[0];
        let further = self.connections[1..].iter().filter(|further| !further.is_lost());
        let usable = std::iter::once(first).chain(further);
        let with_few = usable.clone().find(|connection| connection.calls() < MANY);
        let fewest = || usable.min_by_key(|connection| connection.calls());
        Line::on(with_few.or_else(fewest).unwrap_or(first))
    }

    /// For a call that is sent again: a connection that carries calls already, because the replica may take no further one.
    pub(super) fn line_in_use(&self) -> Line<'_> {
        let in_use = self.connections.iter().find(|connection| connection.is_in_use());
        Line::on(in_use.unwrap_or(&self.connections[0]))
    }

    fn is_there(&self) -> bool {
        !self.connections[0].is_lost() || self.connections.iter().any(Connection::is_in_use)
    }
}

impl Connection {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn is_in_use(&self) -> bool {
        self.calls() > 0 && !self.is_lost()
    }

    /// Whether a call on it got no answer a short while ago.
    fn is_lost(&self) -> bool {
        let lost_at = *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        lost_at.is_some_and(|at| at.elapsed() < PASSED_OVER)
    }
}

impl<'a> Line<'a> {
    fn on(connection: &'a Connection) -> Self {
        connection.calls.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }

    pub(super) fn channel(&self) -> Channel {
        self.0.channel.clone()
    }

    /// Notes that the call got no answer.
    pub(super) fn lost(&self) {
        *self.0.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    /// Replicas with three connections each.
    fn replicas(count: usize) -> Replicas {
        let channels = || (0..3).map(|_| Endpoint::from_static("http://nowhere").connect_lazy());
        Replicas::new((0..count).map(|_| channels().collect()).collect())
    }

    fn in_flight(replica: &Replica) -> Vec<usize> {
        replica.connections.iter().map(Connection::calls).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_take_turns_and_one_that_is_away_is_passed_over_for_a_while() {
        let three = replicas(3);
        let picked: Vec<_> = (0..6).map(|_| three.next(None).index()).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
        three.all[1].line().lost();
        assert!((0..6).all(|_| three.next(None).index() != 1));
        tokio::time::advance(PASSED_OVER).await;
        assert!((0..3).any(|_| three.next(None).index() == 1));
    }

    #[tokio::test]
    async fn the_one_that_was_just_tried_is_only_tried_again_when_no_other_is_there() {
        let two = replicas(2);
        assert!((0..4).all(|_| two.next(Some(0)).index() == 1));
        two.all[1].line().lost();
        assert!((0..4).all(|_| two.next(Some(0)).index() == 0));
        two.all[0].line().lost();
        assert!((0..4).all(|_| two.next(Some(0)).index() == 1));
        assert_eq!(replicas(1).next(Some(0)).index(), 0);
    }

    #[tokio::test]
    async fn one_connection_carries_what_it_can_and_the_next_one_is_made_for_what_is_more() {
        let replicas = replicas(1);
        let replica = replicas.next(None);
        for _ in 0..=MANY {
            drop(replica.line());
        }
        let calls: Vec<_> = (0..MANY).map(|_| replica.line()).collect();
        assert_eq!(
            in_flight(replica),
            [MANY, 0, 0],
            "calls that follow one another need one connection"
        );
        let more: Vec<_> = (0..2 * MANY + 6).map(|_| replica.line()).collect();
        assert_eq!(in_flight(replica), [MANY + 2, MANY + 2, MANY + 2]);
        drop(calls);
        drop(more);
        assert_eq!(in_flight(replica), [0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_takes_no_further_connection_is_not_passed_over_and_gets_its_calls_on_the_first() {
        let two = replicas(2);
        let replica = &two.all[0];
        let _calls: Vec<_> = (0..MANY).map(|_| replica.line()).collect();
        for _ in 0..2 {
            replica.line().lost();
        }
        assert!((0..4).any(|_| two.next(None).index() == 0));
        let more: Vec<_> = (0..4).map(|_| replica.line()).collect();
        assert_eq!(in_flight(replica), [MANY + 4, 0, 0]);
        drop(more);
        let _more = replica.line_in_use();
        assert_eq!(in_flight(replica), [MANY + 1, 0, 0]);
        tokio::time::advance(PASSED_OVER).await;
        let _again = replica.line();
        assert_eq!(in_flight(replica), [MANY + 1, 1, 0]);
    }

    #[tokio::test]
    async fn a_call_that_is_lost_on_the_first_connection_goes_by_a_further_one_that_is_in_use() {
        let two = replicas(2);
        let replica = &two.all[0];
        let mut calls: Vec<_> = (0..=MANY).map(|_| replica.line()).collect();
        let further = calls.pop();
        calls[0].lost();
        drop(calls);
        assert!((0..4).any(|_| two.next(None).index() == 0), "it is there");
        let _again = replica.line_in_use();
        assert_eq!(in_flight(replica), [0, 2, 0]);
        drop(further);
    }
}
