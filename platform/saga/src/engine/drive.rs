//! The driver of one saga: executes what the machine says and persists the result.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use runtime::telemetry::chain;
use storage::StoreError;
use tokio::time::Instant;

use super::{Engine, Permit};
use crate::{
    journal::{Claimed, Continuation, Lease, Record, Retry},
    machine::{Machine, Next, Outcome, RetrySchedule, State},
    saga::{Entry, Saga, SagaId},
};

/// Backoff between attempts to use the journal.
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// The length of a wait without a timeout.
const NO_TIMEOUT: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// The result of persisting a record.
enum Persisted {
    /// The record was committed as this version.
    Version(i64),
    /// Refused: the saga has to read new signals before it may wait.
    SignalPending,
    /// Another driver has claimed the saga, the process is stopping, or the data are damaged.
    Stopped,
}

impl<M: Machine> Engine<M> {
    /// Drives a saga until it ends or waits. Stops earlier if the process stops or another driver claims the saga.
    pub(super) async fn drive(&self, mut claimed: Claimed<M>, mut permit: Permit) {
        // The first conflict may be a new signal: the step is computed again. A second conflict in a row means a lost
        // lease.
        let mut first_conflict = true;
        while !claimed.saga.is_final() {
            let Some((record, advanced)) = self.advance(&claimed.saga).await else {
                return;
            };
            match self.persist(&claimed, &record).await {
                Persisted::Version(version) => claimed.saga = Saga { version, ..advanced },
                Persisted::SignalPending if first_conflict => {
                    first_conflict = false;
                    continue;
                }
                Persisted::SignalPending | Persisted::Stopped => return,
            }
            first_conflict = true;
            self.waiters.notify(&claimed.saga);
            match record.continuation {
                Continuation::Continue => {}
                Continuation::Wait(_) => return,
                Continuation::Retry(retry) => {
                    drop(permit);
                    if !self.tasks.sleep(retry.after).await {
                        return self.release(&claimed, &record.data, retry).await;
                    }
                    permit = self.permit().await;
                }
            }
        }
    }

    /// Takes the steps that share the next commit: returns the record to persist, and the saga after it. `None` if the
    /// process stops first.
    ///
    /// A crash before the commit loses nothing, see [`Machine::may_call_before_persisting`]. Steps share a commit only
    /// during the first third of the lease, so that this driver still holds the lease when it makes the last call.
    async fn advance(&self, from: &Saga<M>) -> Option<(Record<M>, Saga<M>)> {
        let began = Instant::now();
        let mut saga = from.clone();
        let mut record = Record::new(from.data.clone());
        loop {
            let shares = record.steps.is_empty()
                || M::may_call_before_persisting(&saga.state) && began.elapsed() < self.lease.ttl / 3;
            let state = match M::next(&saga.state, &saga.data) {
                Next::Intent(intent) => intent,
                Next::Call(call) if shares => {
                    let after = self.call(call, &mut saga).await;
                    if after == saga.state {
                        let retry = next_retry(saga.attempts + 1, &M::retry_schedule(call));
                        (saga.attempts, saga.needs_attention) = (retry.attempts, retry.needs_attention);
                        record.continuation = Continuation::Retry(retry);
                        break;
                    }
                    after
                }
                Next::Wait(until) => match self.end_of_wait(&saga, until, &mut record).await? {
                    Some(after) => after,
                    None => break,
                },
                Next::Call(_) | Next::End => break,
            };
            let (at, detail) = (self.clock.now(), M::detail(&state, Some(&saga.state)));
            record.steps.push((state.clone(), at, detail));
            (saga.state, saga.updated_at) = (state, at);
            (saga.attempts, saga.needs_attention) = (0, false);
        }
        record.data.clone_from(&saga.data);
        Some((record, saga))
    }

    /// The state that ends a wait: by a signal, or because its time has come. The inner `None` means that the saga
    /// waits; the outer `None`, that the process stops.
    async fn end_of_wait(
        &self,
        saga: &Saga<M>,
        until: Option<Timestamp>,
        record: &mut Record<M>,
    ) -> Option<Option<M::State>> {
        let mut backoff = BACKOFF;
        let unread = loop {
            match self.journal.unread(saga.id).await {
                Ok(unread) => break unread,
                Err(error) => backoff = self.back_off(&error, backoff).await?,
            }
        };
        for signal in unread {
            if record.read_signals.contains(&signal.id) {
                continue;
            }
            record.read_signals.push(signal.id);
            if let Some(state) = M::on_signal(&saga.state, &signal) {
                return Some(Some(state));
            }
            tracing::warn!(signal = signal.name, "this saga ignores a signal in its state");
        }
        let now = self.clock.now();
        if until.is_some_and(|until| until <= now) {
            return Some(Some(M::apply(saga.state.clone(), Outcome::Done)));
        }
        record.continuation =
            Continuation::Wait(until.unwrap_or_else(|| now.saturating_add(NO_TIMEOUT).unwrap_or(Timestamp::MAX)));
        Some(None)
    }

    /// Makes a call; returns the next state, or the same state if the call must be retried.
    async fn call(&self, call: M::Call, saga: &mut Saga<M>) -> M::State {
        let outcome = match self.calls.call(call, saga).await {
            Outcome::Unknown => {
                let made = saga.attempts + 1;
                let is_last = M::retry_schedule(call).max_attempts.is_some_and(|max| made >= max);
                if is_last { Outcome::Exhausted } else { Outcome::Unknown }
            }
            other @ (Outcome::Done | Outcome::Refused(_) | Outcome::Exhausted) => other,
        };
        M::apply(saga.state.clone(), outcome)
    }

    /// Persists a record. Retries without limit while the journal is unavailable.
    async fn persist(&self, claimed: &Claimed<M>, record: &Record<M>) -> Persisted {
        let id = claimed.saga.id;
        let (mut backoff, mut in_doubt) = (BACKOFF, false);
        let state = record.steps.last().map_or(&claimed.saga.state, |(state, ..)| state);
        let after = Saga {
            state: state.clone(),
            data: record.data.clone(),
            ..claimed.saga.clone()
        };
        let event = if record.steps.is_empty() {
            Ok(None)
        } else {
            M::event(&after, self.clock.now(), &self.ids)
        };
        let event = match event {
            Ok(event) => event,
            // The data of the saga are damaged. Recovery tries again when the lease has expired.
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "the event of a saga cannot be made; the saga stays where it is"
                );
                return Persisted::Stopped;
            }
        };
        let record = Record {
            event,
            ..record.clone()
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
                Err(error) => match self.back_off(&error, backoff).await {
                    Some(next) => (in_doubt, backoff) = (true, next),
                    None => return Persisted::Stopped,
                },
            }
        };
        if record.event.is_some() {
            self.wake.wake();
        }
        Persisted::Version(version)
    }

    /// Sleeps before the journal is used again; returns the next backoff, or `None` if the process stops.
    async fn back_off(&self, error: &StoreError, backoff: Duration) -> Option<Duration> {
        tracing::warn!(
            error = chain(error),
            ?backoff,
            "the journal cannot be used; trying again"
        );
        let goes_on = self.tasks.sleep(backoff).await;
        goes_on.then(|| (backoff * 2).min(MAX_BACKOFF))
    }

    /// Finds the cause of a conflict: an unread signal, or another driver.
    async fn explain_conflict(&self, id: SagaId, record: &Record<M>) -> Persisted {
        if let Continuation::Wait(_) = record.continuation
            && let Ok(unread) = self.journal.unread(id).await
            && unread.iter().any(|signal| !record.read_signals.contains(&signal.id))
        {
            return Persisted::SignalPending;
        }
        tracing::info!("another driver has claimed this saga");
        Persisted::Stopped
    }

    /// The version of a record that was persisted already; `None` if the last entries of the history are not its steps.
    /// A write whose answer was lost may have been committed, and then its repetition conflicts with itself.
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

    /// Releases the lease of a saga that waits for a retry while this process stops, so that another replica can claim
    /// it before the lease expires.
    async fn release(&self, claimed: &Claimed<M>, data: &M::Data, retry: Retry) {
        let record = Record {
            continuation: Continuation::Retry(Retry {
                after: Duration::ZERO,
                ..retry
            }),
            ..Record::new(data.clone())
        };
        let expired = Lease {
            ttl: Duration::ZERO,
            ..self.lease.clone()
        };
        if let Err(error) = self.journal.record(claimed, &record, &expired).await {
            tracing::info!(error = chain(&error), "the lease of this saga has to expire");
        }
    }
}

/// The retry after so many attempts.
fn next_retry(attempts: u32, schedule: &RetrySchedule) -> Retry {
    let needs_attention = attempts > schedule.attention_after;
    let full = if needs_attention {
        schedule.slow_delay
    } else {
        let factor = 1 << attempts.saturating_sub(1).min(16);
        schedule.max_delay.min(schedule.initial_delay.saturating_mul(factor))
    };
    let half = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX);
    Retry {
        after: full / 2 + Duration::from_millis(fastrand::u64(0..=half)),
        attempts,
        needs_attention,
    }
}
