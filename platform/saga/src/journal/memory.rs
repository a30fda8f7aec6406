//! A journal in memory, which works with tokio's paused time. It passes the contract suite of the real journals.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use events::Event;
use jiff::Timestamp;
use runtime::Clock;
use storage::StoreError;
use tokio::{task::yield_now, time::Instant};

use super::{Begun, Claimed, Continuation, Filter, Journal, Lease, Record, SignalOutcome, Signals};
use crate::{
    machine::{Machine, State},
    saga::{Entry, Fence, Saga, SagaId, Signal},
};

/// A fault of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// Fails without writing.
    Lost,
    /// Writes, and fails.
    AnswerLost,
}

struct Stored<M: Machine> {
    saga: Saga<M>,
    key: String,
    history: Vec<Entry>,
    machine: u32,
    owner: String,
    fence: i64,
    lease_until: Instant,
    wake_at: Instant,
    is_readable: bool,
    unread: Vec<Signal>,
    read_signals: Vec<Signal>,
}

impl<M: Machine> Stored<M> {
    fn read(&self) -> Result<Saga<M>, StoreError> {
        if self.is_readable {
            Ok(self.saga.clone())
        } else {
            Err(StoreError::corrupt("the row was made unreadable"))
        }
    }

    fn apply(&mut self, record: &Record<M>, lease: &Lease, clock: &Clock) -> Result<i64, StoreError> {
        self.history.extend(record.steps.iter().map(entry));
        let (read_signals, unread) = self
            .unread
            .drain(..)
            .partition(|signal| record.read_signals.contains(&signal.id));
        self.unread = unread;
        self.read_signals.extend::<Vec<_>>(read_signals);
        let saga = &mut self.saga;
        saga.version += i64::try_from(record.steps.len()).map_err(StoreError::corrupt)?;
        if let Some((state, at, _)) = record.steps.last() {
            (saga.state, saga.updated_at) = (state.clone(), *at);
        }
        saga.data.clone_from(&record.data);
        (saga.attempts, saga.needs_attention) = (0, false);
        let now = Instant::now();
        match record.continuation {
            Continuation::Continue => (self.wake_at, self.lease_until) = (now, now + lease.ttl),
            Continuation::Retry(retry) => {
                (saga.attempts, saga.needs_attention) = (retry.attempts, retry.needs_attention);
                self.wake_at = now + retry.after;
                self.lease_until = self.wake_at + lease.ttl;
            }
            Continuation::Wait(until) => {
                let wait = until.duration_since(clock.now());
                self.owner.clear();
                self.wake_at = now + wait.try_into().unwrap_or_default();
                self.lease_until = self.wake_at;
            }
        }
        Ok(saga.version)
    }
}

fn entry<S: State>((state, at, detail): &(S, Timestamp, String)) -> Entry {
    Entry {
        state: state.name().to_owned(),
        at: *at,
        detail: detail.clone(),
    }
}

struct Tables<M: Machine> {
    sagas: BTreeMap<SagaId, Stored<M>>,
    outbox: Vec<Event>,
    faults: VecDeque<Option<WriteFault>>,
    reads: usize,
    writes: usize,
    get_is_unavailable: bool,
    clock: Clock,
}

/// All sagas of one kind. Clones share the sagas.
#[derive(Clone)]
pub struct MemoryJournal<M: Machine>(Arc<Mutex<Tables<M>>>);

impl<M: Machine> Default for MemoryJournal<M> {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl<M: Machine> MemoryJournal<M> {
    /// `clock` must advance with tokio's time: it decides when waits are over.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(Tables {
            sagas: BTreeMap::new(),
            outbox: Vec::new(),
            faults: VecDeque::new(),
            reads: 0,
            writes: 0,
            get_is_unavailable: false,
            clock,
        })))
    }

    fn tables(&self) -> MutexGuard<'_, Tables<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All committed events, in order.
    pub fn outbox(&self) -> Vec<Event> {
        self.tables().outbox.clone()
    }

    /// All sagas, in the order of their ids.
    pub fn sagas(&self) -> Vec<Saga<M>> {
        self.tables().sagas.values().map(|stored| stored.saga.clone()).collect()
    }

    /// Makes a saga unreadable.
    pub fn corrupt(&self, id: SagaId) {
        if let Some(stored) = self.tables().sagas.get_mut(&id) {
            stored.is_readable = false;
        }
    }

    /// Makes a saga one of a later version of the machine.
    pub fn raise_version(&self, id: SagaId) {
        if let Some(stored) = self.tables().sagas.get_mut(&id) {
            stored.machine = M::VERSION + 1;
        }
    }

    /// The history of a saga, oldest entry first.
    pub fn history(&self, id: SagaId) -> Vec<Entry> {
        self.tables()
            .sagas
            .get(&id)
            .map(|stored| stored.history.clone())
            .unwrap_or_default()
    }

    /// Inserts a saga whose driver is gone.
    pub fn put(&self, saga: Saga<M>, key: &str, history: Vec<Entry>) {
        let now = Instant::now();
        let stored = Stored {
            key: key.to_owned(),
            history,
            machine: M::VERSION,
            owner: "gone".to_owned(),
            fence: 1,
            lease_until: now,
            wake_at: now,
            is_readable: true,
            unread: Vec::new(),
            read_signals: Vec::new(),
            saga,
        };
        self.tables().sagas.insert(stored.saga.id, stored);
    }

    /// Injects a fault into the `nth` of the next writes, counted from 0.
    pub fn fail_nth_write(&self, nth: usize, fault: WriteFault) {
        let mut tables = self.tables();
        tables.faults.resize(nth, None);
        tables.faults.push_back(Some(fault));
    }

    /// The number of calls of `find` and `get`.
    pub fn reads(&self) -> usize {
        self.tables().reads
    }

    /// Makes `get` fail, or work again.
    pub fn make_get_unavailable(&self, is_unavailable: bool) {
        self.tables().get_is_unavailable = is_unavailable;
    }

    /// The number of calls of `begin`, `record`, `release_all` and `send`.
    pub fn writes(&self) -> usize {
        self.tables().writes
    }

    fn write<T>(&self, write: impl FnOnce(&mut Tables<M>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut tables = self.tables();
        tables.writes += 1;
        match tables.faults.pop_front().flatten() {
            None => write(&mut tables),
            Some(WriteFault::Lost) => Err(StoreError::unavailable("the disk is full")),
            Some(WriteFault::AnswerLost) => {
                write(&mut tables)?;
                Err(StoreError::unavailable("connection lost"))
            }
        }
    }
}

#[async_trait]
impl<M: Machine> Journal<M> for MemoryJournal<M> {
    async fn begin(&self, new: &Saga<M>, key: &str, lease: &Lease) -> Result<Begun<M>, StoreError> {
        yield_now().await;
        self.write(|tables| {
            let is_same = |stored: &&Stored<M>| stored.saga.scope == new.scope && stored.key == key;
            if let Some(stored) = tables.sagas.values().find(is_same) {
                return Ok(Begun::Exists(Box::new(stored.read()?)));
            }
            let first = (new.state.clone(), new.created_at, M::detail(&new.state, None));
            let stored = Stored {
                saga: new.clone(),
                key: key.to_owned(),
                history: vec![entry(&first)],
                machine: M::VERSION,
                owner: lease.owner.clone(),
                fence: 1,
                lease_until: Instant::now() + lease.ttl,
                wake_at: Instant::now(),
                is_readable: true,
                unread: Vec::new(),
                read_signals: Vec::new(),
            };
            tables.sagas.insert(new.id, stored);
            Ok(Begun::Created(Fence(1)))
        })
    }

    async fn find(&self, scope: &str, key: &str) -> Result<Option<Saga<M>>, StoreError> {
        yield_now().await;
        let mut tables = self.tables();
        tables.reads += 1;
        let mut all = tables.sagas.values();
        let stored = all.find(|stored| stored.saga.scope == scope && stored.key == key);
        stored.map(Stored::read).transpose()
    }

    async fn get(&self, id: SagaId, scope: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError> {
        yield_now().await;
        let mut tables = self.tables();
        tables.reads += 1;
        if tables.get_is_unavailable {
            return Err(StoreError::unavailable("does not answer"));
        }
        let stored = tables.sagas.get(&id);
        let stored = stored.filter(|stored| scope.is_none_or(|scope| stored.saga.scope == scope));
        stored
            .map(|stored| Ok((stored.read()?, stored.history.clone())))
            .transpose()
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Saga<M>>, StoreError> {
        let tables = self.tables();
        let readable = tables.sagas.values().filter_map(|stored| stored.read().ok());
        let wanted = readable
            .filter(|saga| filter.after.is_none_or(|after| saga.id > after))
            .filter(|saga| {
                filter
                    .status
                    .is_none_or(|status| M::status(&saga.state, &saga.data) == status)
            })
            .filter(|saga| !filter.needs_attention || saga.needs_attention);
        Ok(wanted
            .take(usize::try_from(filter.limit).map_err(StoreError::corrupt)?)
            .collect())
    }

    async fn record(&self, claimed: &Claimed<M>, record: &Record<M>, lease: &Lease) -> Result<i64, StoreError> {
        yield_now().await;
        self.write(|tables| {
            let event = record.event.as_ref().map(|(_, event)| event);
            let is_taken = |event: &Event| tables.outbox.iter().any(|other| other.id == event.id);
            let id_is_taken = event.is_some_and(is_taken);
            let may_wait = |stored: &Stored<M>| {
                stored
                    .unread
                    .iter()
                    .all(|signal| record.read_signals.contains(&signal.id))
            };
            let stored = tables.sagas.get_mut(&claimed.saga.id).filter(|stored| {
                stored.saga.version == claimed.saga.version
                    && stored.fence == claimed.fence.0
                    && !id_is_taken
                    && (!matches!(record.continuation, Continuation::Wait(_)) || may_wait(stored))
            });
            let version = stored
                .ok_or(StoreError::Conflict)?
                .apply(record, lease, &tables.clock)?;
            tables.outbox.extend(event.cloned());
            Ok(version)
        })
    }

    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed<M>>, StoreError> {
        yield_now().await;
        let now = Instant::now();
        let mut tables = self.tables();
        let all = tables.sagas.values_mut();
        let due = all
            .filter(|stored| !stored.saga.is_final() && stored.wake_at <= now && stored.lease_until <= now)
            .filter(|stored| stored.machine <= M::VERSION);
        let mut claimed = Vec::new();
        for stored in due.take(usize::try_from(limit).map_err(StoreError::corrupt)?) {
            stored.fence += 1;
            stored.owner.clone_from(&lease.owner);
            stored.lease_until = now + lease.ttl;
            claimed.extend(stored.read().ok().map(|saga| Claimed {
                saga,
                fence: Fence(stored.fence),
            }));
        }
        Ok(claimed)
    }

    async fn release_all(&self, owner: &str) -> Result<(), StoreError> {
        self.write(|tables| {
            let now = Instant::now();
            let all = tables.sagas.values_mut();
            for stored in all.filter(|stored| stored.owner == owner && !stored.saga.is_final()) {
                (stored.lease_until, stored.wake_at) = (now, now);
            }
            Ok(())
        })
    }
}

#[async_trait]
impl<M: Machine> Signals for MemoryJournal<M> {
    async fn send(&self, to: SagaId, signal: &Signal) -> Result<SignalOutcome, StoreError> {
        yield_now().await;
        self.write(|tables| {
            let Some(stored) = tables.sagas.get_mut(&to) else {
                return Ok(SignalOutcome::NotFound);
            };
            if stored.saga.is_final() {
                return Ok(SignalOutcome::Final);
            }
            let mut known = stored.unread.iter().chain(&stored.read_signals);
            if !known.any(|known| known.id == signal.id) {
                stored.unread.push(signal.clone());
                let now = Instant::now();
                stored.wake_at = stored.wake_at.min(now);
                if stored.owner.is_empty() {
                    stored.lease_until = now;
                }
            }
            Ok(SignalOutcome::Sent)
        })
    }

    async fn unread(&self, of: SagaId) -> Result<Vec<Signal>, StoreError> {
        yield_now().await;
        let tables = self.tables();
        Ok(tables
            .sagas
            .get(&of)
            .map(|stored| stored.unread.clone())
            .unwrap_or_default())
    }
}
