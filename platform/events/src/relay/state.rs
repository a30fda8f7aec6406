//! What a relay remembers between rounds: its lease, its topics, and the attempts at topics that are under way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use runtime::{deadlines::OUTBOX_LEASE, telemetry::chain};
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use tracing::Instrument;

use super::{BACKOFF, MAX_BACKOFF};
use crate::{
    BusError,
    outbox::{Fence, OutboxRow},
};

/// An attempt at a topic that has ended.
pub(super) struct Attempt {
    pub(super) topic: String,
    pub(super) outcome: Result<Success, BusError>,
}

pub(super) enum Success {
    /// The topic exists.
    Ensured,
    /// The bus has confirmed these rows, whose publication began under this fence.
    Published(Fence, Vec<i64>),
}

#[derive(Default)]
pub(super) struct RelayState {
    pub(super) lease: Option<(Fence, Instant)>,
    /// The topics that are known to exist.
    pub(super) ensured: BTreeSet<String>,
    /// The topics that failed, with the time of the next attempt and the backoff before it.
    pub(super) failing: BTreeMap<String, (Instant, Duration)>,
    /// The topics with an attempt under way, or with one that has ended and is not finished. Each has one attempt at a
    /// time, which keeps its order.
    busy: BTreeSet<String>,
    /// Tasks, so that publications go on while the relay waits for the outbox.
    attempts: JoinSet<Attempt>,
    ended: VecDeque<Attempt>,
}

impl RelayState {
    /// Starts an attempt at a topic that is not excluded.
    pub(super) fn start(
        &mut self,
        topic: String,
        attempt: impl Future<Output = Result<Success, BusError>> + Send + 'static,
    ) {
        self.busy.insert(topic.clone());
        let attempt = async move {
            let outcome = attempt.await;
            Attempt { topic, outcome }
        };
        self.attempts.spawn(attempt.in_current_span());
    }

    /// Whether an attempt is under way or not finished.
    pub(super) fn has_attempts(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Waits until an attempt has ended; for ever if none is under way. Cancel safe.
    pub(super) async fn attempt_ended(&mut self) {
        if !self.ended.is_empty() {
            return;
        }
        match self.attempts.join_next().await {
            Some(ended) => self.ended.push_back(or_panic(ended)),
            None => std::future::pending().await,
        }
    }

    /// The next attempt that has ended, if any. Its topic may have the next attempt.
    pub(super) fn next_ended(&mut self) -> Option<Attempt> {
        let waiting = self.ended.pop_front();
        let ended = waiting.or_else(|| self.attempts.try_join_next().map(or_panic))?;
        self.busy.remove(&ended.topic);
        Some(ended)
    }

    /// The topics whose rows must not be read: those with an attempt under way, and those that failed and whose backoff
    /// is not over.
    pub(super) fn excluded(&self) -> BTreeSet<String> {
        let now = Instant::now();
        let backing_off = self.failing.iter().filter(|(_, (until, _))| *until > now);
        let backing_off = backing_off.map(|(topic, _)| topic);
        backing_off.chain(&self.busy).cloned().collect()
    }

    /// Forgets failed topics that were read and have no rows: another relay may have published these. Such a topic can
    /// never succeed here, and would keep the relay busy without end.
    pub(super) fn forget_idle(&mut self, excluded: &BTreeSet<String>, rows: &BTreeMap<String, Vec<OutboxRow>>) {
        self.failing
            .retain(|topic, _| excluded.contains(topic) || rows.contains_key(topic));
    }

    /// The time until a failed topic may be tried again, or until the lease must be extended for the attempts under
    /// way; `at_most` if that is earlier.
    pub(super) fn until_next_round(&self, at_most: Duration) -> Duration {
        let idle = self.failing.iter().filter(|(topic, _)| !self.busy.contains(*topic));
        let retries = idle.map(|(_, (until, _))| *until);
        let extension = self.lease.filter(|_| self.has_attempts());
        let times = retries.chain(extension.map(|(_, since)| since + OUTBOX_LEASE / 2));
        times.min().map_or(at_most, |next| {
            next.saturating_duration_since(Instant::now()).min(at_most)
        })
    }

    pub(super) fn back_off(&mut self, topic: &str, error: &BusError) {
        let backoff = match self.failing.get(topic) {
            Some((_, before)) => (*before * 2).min(MAX_BACKOFF),
            None => BACKOFF,
        };
        tracing::warn!(
            topic,
            error = chain(error),
            ?backoff,
            "events could not be published; trying again"
        );
        self.ensured.remove(topic);
        self.failing
            .insert(topic.to_owned(), (Instant::now() + backoff, backoff));
    }
}

/// The panic of an attempt is a panic of the relay, which is restarted then.
fn or_panic(ended: Result<Attempt, JoinError>) -> Attempt {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_topic_is_retried_until_it_has_no_rows() {
        let (mut state, hour) = (RelayState::default(), Duration::from_hours(1));
        assert_eq!(state.until_next_round(hour), hour);
        state.back_off("t", &BusError::new("away"));
        state.back_off("t", &BusError::new("away"));
        assert_eq!(state.until_next_round(hour), BACKOFF * 2);
        let excluded = state.excluded();
        assert!(excluded.contains("t"));
        state.forget_idle(&excluded, &BTreeMap::new());
        assert_eq!(state.until_next_round(hour), BACKOFF * 2, "its rows were not asked for");
        tokio::time::advance(BACKOFF * 2).await;
        let excluded = state.excluded();
        assert!(excluded.is_empty());
        state.forget_idle(&excluded, &BTreeMap::from([("t".to_owned(), Vec::new())]));
        assert_eq!(state.until_next_round(hour), Duration::ZERO);
        state.forget_idle(&excluded, &BTreeMap::new());
        assert_eq!(state.until_next_round(hour), hour);
    }
}
