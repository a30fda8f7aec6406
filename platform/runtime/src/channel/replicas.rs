//! Round-robin over the replicas of a service, and the connections to each replica.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tonic::transport::Channel;

/// How long to avoid a replica whose first connection was lost, if there are others, and a lost further connection.
const LOST_BACKOFF: Duration = Duration::from_secs(1);

/// A further connection is opened when all others carry this many calls: half of what a service accepts on one
/// connection, so that no call waits behind hung calls.
const BUSY: usize = 64;

/// The replicas of one service, at least one.
pub(super) struct Replicas {
    all: Vec<Replica>,
    next_turn: AtomicUsize,
}

/// One replica and its connections, at least one. Further connections are opened when needed. A replica that refuses a
/// further connection may still be healthy.
pub(super) struct Replica {
    index: usize,
    connections: Vec<Connection>,
}

struct Connection {
    channel: Channel,
    /// Calls in flight.
    calls: AtomicUsize,
    lost_at: Mutex<Option<Instant>>,
}

/// A connection chosen for one call, which counts as in flight until the guard is dropped.
pub(super) struct ConnectionGuard<'a>(&'a Connection);

impl Replicas {
    /// One element per address, with the channels to that address.
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
            next_turn: AtomicUsize::new(0),
        }
    }

    /// The next replica: prefers available replicas, and others than the one just tried.
    pub(super) fn next(&self, tried: Option<usize>) -> &Replica {
        let next_turn = self.next_turn.fetch_add(1, Ordering::Relaxed);
        let count = self.all.len();
        let candidates = (0..count).map(|step| &self.all[next_turn.wrapping_add(step) % count]);
        let others = candidates.clone().filter(|replica| Some(replica.index) != tried);
        others
            .clone()
            .chain(candidates)
            .find(|replica| replica.is_available())
            .or_else(|| others.clone().next())
            .unwrap_or_else(|| &self.all[next_turn % count])
    }
}

impl Replica {
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// Chooses for a new call: the first connection with fewer than [`BUSY`] calls, or else the least busy one.
    /// Skips a further connection that was recently lost or failed to open. The first connection is never skipped.
    pub(super) fn connection(&self) -> ConnectionGuard<'_> {
        let first = &self.connections[0];
        let further = self.connections[1..].iter().filter(|further| !further.is_lost());
        let usable = std::iter::once(first).chain(further);
        let with_few = usable.clone().find(|connection| connection.calls() < BUSY);
        let fewest = || usable.min_by_key(|connection| connection.calls());
        ConnectionGuard::on(with_few.or_else(fewest).unwrap_or(first))
    }

    /// Chooses for a retry: a connection in use, because the replica may accept no further one.
    pub(super) fn connection_in_use(&self) -> ConnectionGuard<'_> {
        let in_use = self.connections.iter().find(|connection| connection.is_in_use());
        ConnectionGuard::on(in_use.unwrap_or(&self.connections[0]))
    }

    fn is_available(&self) -> bool {
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

    /// Whether a call on this connection recently got no answer.
    fn is_lost(&self) -> bool {
        let lost_at = *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        lost_at.is_some_and(|at| at.elapsed() < LOST_BACKOFF)
    }
}

impl<'a> ConnectionGuard<'a> {
    fn on(connection: &'a Connection) -> Self {
        connection.calls.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }

    pub(super) fn channel(&self) -> Channel {
        self.0.channel.clone()
    }

    /// Reports that the call got no answer.
    pub(super) fn mark_lost(&self) {
        *self.0.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Drop for ConnectionGuard<'_> {
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
    async fn replicas_take_turns_and_a_lost_one_is_skipped_for_a_while() {
        let three = replicas(3);
        let picked: Vec<_> = (0..6).map(|_| three.next(None).index()).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
        three.all[1].connection().mark_lost();
        assert!((0..6).all(|_| three.next(None).index() != 1));
        tokio::time::advance(LOST_BACKOFF).await;
        assert!((0..3).any(|_| three.next(None).index() == 1));
    }

    #[tokio::test]
    async fn the_replica_just_tried_is_retried_only_if_no_other_is_available() {
        let two = replicas(2);
        assert!((0..4).all(|_| two.next(Some(0)).index() == 1));
        two.all[1].connection().mark_lost();
        assert!((0..4).all(|_| two.next(Some(0)).index() == 0));
        two.all[0].connection().mark_lost();
        assert!((0..4).all(|_| two.next(Some(0)).index() == 1));
        assert_eq!(replicas(1).next(Some(0)).index(), 0);
    }

    #[tokio::test]
    async fn a_further_connection_is_opened_when_all_others_are_busy() {
        let replicas = replicas(1);
        let replica = replicas.next(None);
        for _ in 0..=BUSY {
            drop(replica.connection());
        }
        let calls: Vec<_> = (0..BUSY).map(|_| replica.connection()).collect();
        assert_eq!(
            in_flight(replica),
            [BUSY, 0, 0],
            "calls that follow one another need one connection"
        );
        let more: Vec<_> = (0..2 * BUSY + 6).map(|_| replica.connection()).collect();
        assert_eq!(in_flight(replica), [BUSY + 2, BUSY + 2, BUSY + 2]);
        drop(calls);
        drop(more);
        assert_eq!(in_flight(replica), [0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_refuses_further_connections_gets_its_calls_on_the_first() {
        let two = replicas(2);
        let replica = &two.all[0];
        let _calls: Vec<_> = (0..BUSY).map(|_| replica.connection()).collect();
        for _ in 0..2 {
            replica.connection().mark_lost();
        }
        assert!((0..4).any(|_| two.next(None).index() == 0));
        let more: Vec<_> = (0..4).map(|_| replica.connection()).collect();
        assert_eq!(in_flight(replica), [BUSY + 4, 0, 0]);
        drop(more);
        let _more = replica.connection_in_use();
        assert_eq!(in_flight(replica), [BUSY + 1, 0, 0]);
        tokio::time::advance(LOST_BACKOFF).await;
        let _again = replica.connection();
        assert_eq!(in_flight(replica), [BUSY + 1, 1, 0]);
    }

    #[tokio::test]
    async fn a_call_lost_on_the_first_connection_is_retried_on_another_one_in_use() {
        let two = replicas(2);
        let replica = &two.all[0];
        let mut calls: Vec<_> = (0..=BUSY).map(|_| replica.connection()).collect();
        let further = calls.pop();
        calls[0].mark_lost();
        drop(calls);
        assert!((0..4).any(|_| two.next(None).index() == 0), "it is there");
        let _again = replica.connection_in_use();
        assert_eq!(in_flight(replica), [0, 2, 0]);
        drop(further);
    }
}
