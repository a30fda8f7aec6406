//! Drives one saga: does what the machine says, and persists what came of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use runtime::telemetry::chain;
use storage::StoreError;
use tokio::time::Instant;

use super::{Engine, Permit};
use crate::{
    journal::{Claimed, Lease, Record, Retry, Then},
    machine::{Machine, Next, Outcome, Schedule, State},
    saga::{Entry, Saga, SagaId},
};

/// How soon the journal is tried again.
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a saga waits that waits for a signal alone: for ever.
const CENTURY: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// What became of a record.
enum Persisted {
    As(i64),
    /// Signals came that the saga must look at before it waits.
    Signalled,
    /// The saga is somebody else's now, or the process stops.
    Lost,
}

impl<M: Machine> Engine<M> {
    /// Drives a saga to its end or to a wait; returns earlier when the process stops or somebody else has claimed it.
    pub(super) async fn drive(&self, mut claimed: Claimed<M>, mut permit: Permit) {
        // Signals that come at the same moment as a wait begins make it begin again. Lost leases do so once.
        let mut may_be_signalled = true;
        while !claimed.saga.has_ended() {
            let Some((record, ahead)) = self.advance(&claimed.saga).await else {
                return;
            };
            match self.persist(&claimed, &record).await {
                Persisted::As(version) => claimed.saga = Saga { version, ..ahead },
                Persisted::Signalled if may_be_signalled => {
                    may_be_signalled = false;
                    continue;
                }
                Persisted::Signalled | Persisted::Lost => return,
            }
            may_be_signalled = true;
            self.waiters.tell(&claimed.saga);
            match record.then {
                Then::GoOn => {}
                Then::Wait(_) => return,
                Then::Retry(retry) => {
                    drop(permit);
                    if !self.tasks.sleep(retry.after).await {
                        return self.release(&claimed, &record.data, retry).await;
                    }
                    permit = self.permit().await;
                }
            }
        }
    }

    /// Goes as far as one commit reaches: returns what is to be persisted, and the saga as it is then. `None` when the process
    /// stops before that is known.
    ///
    /// A crash before that commit loses nothing: see [`Machine::shares_its_commit`] for the steps that share one. They do so
    /// only while most of the lease is left, so that the saga is still ours when the last of their calls is made.
    async fn advance(&self, from: &Saga<M>) -> Option<(Record<M>, Saga<M>)> {
        let began = Instant::now();
        let mut ahead = from.clone();
        let mut record = Record::new(from.data.clone());
        loop {
            let shares =
                record.steps.is_empty() || M::shares_its_commit(&ahead.state) && began.elapsed() < self.lease.ttl / 3;
            let state = match M::next(&ahead.state, &ahead.data) {
                Next::Record(intent) => intent,
                Next::Call(call) if shares => {
                    let after = self.call(call, &mut ahead).await;
                    if after == ahead.state {
                        let retry = retry(ahead.attempts + 1, &M::schedule(call));
                        (ahead.attempts, ahead.needs_attention) = (retry.attempts, retry.needs_attention);
                        record.then = Then::Retry(retry);
                        break;
                    }
                    after
                }
                Next::Wait(until) => match self.wait_over(&ahead, until, &mut record).await? {
                    Some(after) => after,
                    None => break,
                },
                Next::Call(_) | Next::End => break,
            };
            let (at, detail) = (self.clock.now(), M::detail(&state, Some(&ahead.state)));
            record.steps.push((state.clone(), at, detail));
            (ahead.state, ahead.updated_at) = (state, at);
            (ahead.attempts, ahead.needs_attention) = (0, false);
        }
        record.data.clone_from(&ahead.data);
        Some((record, ahead))
    }

    /// The state that ends a wait: by a signal, or because its time has come; `None` if the saga has to wait.
    async fn wait_over(
        &self,
        saga: &Saga<M>,
        until: Option<Timestamp>,
        record: &mut Record<M>,
    ) -> Option<Option<M::State>> {
        let mut backoff = BACKOFF;
        let unread = loop {
            match self.journal.unread(saga.id).await {
                Ok(unread) => break unread,
                Err(error) => backoff = self.pause(&error, backoff).await?,
            }
        };
        for signal in unread {
            if record.used.contains(&signal.id) {
                continue;
            }
            record.used.push(signal.id);
            if let Some(state) = M::signalled(&saga.state, &signal) {
                return Some(Some(state));
            }
            tracing::warn!(signal = signal.name, "a signal says nothing to this saga");
        }
        let now = self.clock.now();
        if until.is_some_and(|until| until <= now) {
            return Some(Some(M::apply(saga.state.clone(), Outcome::Done)));
        }
        record.then = Then::Wait(until.unwrap_or_else(|| now.saturating_add(CENTURY).unwrap_or(Timestamp::MAX)));
        Some(None)
    }

    /// Makes a call and says what state it leads to: the same one when it is to be made again.
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> M::State {
        let outcome = match self.calls.call(call, saga).await {
            Outcome::Unknown => {
                let made = saga.attempts + 1;
                let is_last = M::schedule(call).attempts.is_some_and(|attempts| made >= attempts);
                tracing::warn!(?call, attempts = made, "the outcome of a call is unknown");
                if is_last { Outcome::Exhausted } else { Outcome::Unknown }
            }
            known @ (Outcome::Done | Outcome::Refused(_) | Outcome::Exhausted) => known,
        };
        M::apply(saga.state.clone(), outcome)
    }

    /// Persists a record, for as long as that takes.
    async fn persist(&self, claimed: &Claimed<M>, record: &Record<M>) -> Persisted {
        let id = claimed.saga.id;
        let (mut backoff, mut in_doubt) = (BACKOFF, false);
        let record = loop {
            let after = Saga {
                state: record
                    .steps
                    .last()
                    .map_or(&claimed.saga.state, |(state, ..)| state)
                    .clone(),
                data: record.data.clone(),
                ..claimed.saga.clone()
            };
            let event = if record.steps.is_empty() {
                Ok(None)
            } else {
                M::event(&after, self.clock.now(), &self.ids)
            };
            match event {
                Ok(event) => {
                    break Record {
                        event,
                        ..record.clone()
                    };
                }
                Err(error) => match self.pause(&error, backoff).await {
                    Some(next) => backoff = next,
                    None => return Persisted::Lost,
                },
            }
        };
        let version = loop {
            let written = match self.journal.record(claimed, &record, &self.lease).await {
                Ok(version) => Ok(Some(version)),
                Err(StoreError::Conflict) if in_doubt => self.find_persisted(id, &record).await,
                Err(StoreError::Conflict) => Ok(None),
                Err(error) => Err(error),
            };
            match written {
                Ok(Some(version)) => break version,
                Ok(None) => return self.explain_conflict(id, &record).await,
                Err(error) => match self.pause(&error, backoff).await {
                    Some(next) => (in_doubt, backoff) = (true, next),
                    None => return Persisted::Lost,
                },
            }
        };
        if record.event.is_some() {
            self.wake.wake();
        }
        Persisted::As(version)
    }

    /// Waits before the journal is tried again; returns how long to wait the next time, `None` when the process stops.
    async fn pause(&self, error: &StoreError, backoff: Duration) -> Option<Duration> {
        tracing::warn!(
            error = chain(error),
            ?backoff,
            "the journal cannot be used; trying again"
        );
        let goes_on = self.tasks.sleep(backoff).await;
        goes_on.then(|| (backoff * 2).min(MAX_BACKOFF))
    }

    /// Why a record was a conflict: there is a signal, or another driver.
    async fn explain_conflict(&self, id: SagaId, record: &Record<M>) -> Persisted {
        if let Then::Wait(_) = record.then
            && let Ok(unread) = self.journal.unread(id).await
            && unread.iter().any(|signal| !record.used.contains(&signal.id))
        {
            return Persisted::Signalled;
        }
        tracing::info!("this saga has another driver now");
        Persisted::Lost
    }

    /// The version that a record has led to, if it is the last that was written. Of a write that failed it is not known
    /// whether it happened; if it did, the next one is a conflict with oneself.
    async fn find_persisted(&self, id: SagaId, record: &Record<M>) -> Result<Option<i64>, StoreError> {
        let Some((found, history)) = self.journal.get(id, None).await? else {
            return Ok(None);
        };
        let is_step = |(entry, (state, at, detail)): (&Entry, &(M::State, Timestamp, String))| {
            entry.state == state.name() && entry.at.as_millisecond() == at.as_millisecond() && entry.detail == *detail
        };
        let mut last = history.iter().rev().zip(record.steps.iter().rev());
        let is_written = !record.steps.is_empty() && last.all(is_step);
        Ok(is_written.then_some(found.version))
    }

    /// Gives the lease back on a saga that waits for its next try while this process stops: other replicas need not wait for
    /// it to run out.
    async fn release(&self, claimed: &Claimed<M>, data: &M::Data, retry: Retry) {
        let record = Record {
            then: Then::Retry(Retry {
                after: Duration::ZERO,
                ..retry
            }),
            ..Record::new(data.clone())
        };
        let over = Lease {
            ttl: Duration::ZERO,
            ..self.lease.clone()
        };
        if let Err(error) = self.journal.record(claimed, &record, &over).await {
            tracing::info!(error = chain(&error), "this saga waits for its lease to end");
        }
    }
}

/// When the call of this attempt is made again.
fn retry(attempts: u32, schedule: &Schedule) -> Retry {
    let needs_attention = attempts > schedule.attention;
    let full = if needs_attention {
        schedule.slow
    } else {
        let doubled = schedule.first.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        doubled.min(schedule.most)
    };
    let half = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX);
    Retry {
        after: full / 2 + Duration::from_millis(fastrand::u64(0..=half)),
        attempts,
        needs_attention,
    }
}
