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

/// A connection to each of them; at least one.
pub(super) struct Replicas {
    all: Vec<Replica>,
    turn: AtomicUsize,
}

/// One of them.
pub(super) struct Replica {
    index: usize,
    channel: Channel,
    lost_at: Mutex<Option<Instant>>,
}

impl Replicas {
    pub(super) fn new(channels: Vec<Channel>) -> Self {
        let replica = |(index, channel)| Replica {
            index,
            channel,
            lost_at: Mutex::new(None),
        };
        Self {
            all: channels.into_iter().enumerate().map(replica).collect(),
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
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
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

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn replicas(count: usize) -> Replicas {
        Replicas::new(vec![Endpoint::from_static("http://nowhere").connect_lazy(); count])
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
}
