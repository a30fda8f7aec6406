//! The engine: begins one saga per idempotency key and drives sagas to their end.

mod drive;
mod recovery;
mod waiters;

use std::{sync::Arc, time::Duration};

use events::RelayWaker;
use futures::FutureExt;
use runtime::{
    Clock, Ids, RequestContext, Runtime, Tasks,
    deadlines::SAGA_LEASE,
    telemetry::{chain, record_subject},
};
use storage::StoreError;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    journal::{Begun, Claimed, Filter, Journal, Lease, SignalOutcome},
    machine::{Calls, Machine},
    saga::{Entry, Saga, SagaId, Signal},
};
use waiters::Waiters;

/// The number of sagas that one process drives at once. More sagas would compete for the participants' connections
/// until all of them miss their deadlines; so running sagas finish before new ones begin.
pub const PERMITS: usize = 256;

/// The first interval at which a waiter polls the journal, because the saga may be driven by another process. The
/// interval doubles with each poll.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A permit to drive a saga, returned when it is dropped. Never `None`: the semaphore is not closed.
type Permit = Option<OwnedSemaphorePermit>;

/// The parts of an engine.
pub struct Parts<M: Machine> {
    pub journal: Arc<dyn Journal<M>>,
    pub calls: Arc<dyn Calls<M>>,
    /// Wakes the relay when a saga has committed an event.
    pub wake: RelayWaker,
    /// The name of this process in leases. A process that restarts under the same name resumes its sagas at once, so
    /// two live processes must never share a name.
    pub owner: String,
}

/// Drives the sagas of one kind in this process. Clones share their state.
#[derive(Clone)]
pub struct Engine<M: Machine> {
    journal: Arc<dyn Journal<M>>,
    calls: Arc<dyn Calls<M>>,
    wake: RelayWaker,
    lease: Lease,
    clock: Clock,
    ids: Ids,
    tasks: Tasks,
    waiters: Arc<Waiters<M>>,
    permits: Arc<Semaphore>,
    /// Wakes recovery when a saga may have become due.
    due: Arc<Notify>,
}

/// The idempotency key of a saga. At most one saga ever begins per scope and key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The owner of the key, such as a user.
    pub scope: String,
    pub key: String,
    /// A digest of the request. A request with the same key and another fingerprint is refused.
    pub fingerprint: String,
}

/// Why no saga can be returned. The key stays free, except after `KeyReused`.
#[derive(Debug)]
pub enum BeginError<E> {
    /// The key belongs to a request with another fingerprint.
    KeyReused,
    /// No permit was free before the caller's deadline.
    Busy,
    /// The process is stopping.
    Stopping,
    /// [`ServiceRows`](crate::ServiceRows) refused.
    Refused,
    Store(StoreError),
    /// The input of the saga could not be obtained.
    Data(E),
}

impl<E> From<StoreError> for BeginError<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A saga that has ended, or its last known state at the caller's deadline.
#[derive(Debug)]
pub struct Execution<M: Machine> {
    pub saga: Saga<M>,
    /// Whether the saga existed before this call.
    pub replayed: bool,
}

impl<M: Machine> Engine<M> {
    pub fn new(parts: Parts<M>, runtime: &Runtime) -> Self {
        Self {
            journal: parts.journal,
            calls: parts.calls,
            wake: parts.wake,
            lease: Lease {
                owner: parts.owner,
                ttl: SAGA_LEASE,
            },
            clock: runtime.clock.clone(),
            ids: runtime.ids.clone(),
            tasks: runtime.tasks.clone(),
            waiters: Arc::default(),
            permits: Arc::new(Semaphore::new(PERMITS)),
            due: Arc::default(),
        }
    }

    /// Begins the saga of this key with the result of `data`, and waits until the saga ends or the deadline `until`
    /// passes. If the key is known, returns its saga and does not poll `data`.
    pub async fn once<E>(
        &self,
        identity: Identity,
        first: M::State,
        until: Instant,
        data: impl Future<Output = Result<M::Data, E>>,
    ) -> Result<Execution<M>, BeginError<E>> {
        if let Some(known) = self.journal.find(&identity.scope, &identity.key).await? {
            return self.replay(known, &identity, until).await;
        }
        let permit = timeout_at(until, self.permit()).await.map_err(|_| BeginError::Busy)?;
        let data = match data.await {
            Ok(data) => data,
            // A concurrent request with this key may have begun the saga meanwhile, and may be the cause of this error.
            // Then its saga is the answer.
            Err(error) => {
                drop(permit);
                let known = self.journal.find(&identity.scope, &identity.key).await?;
                let known = known.ok_or(BeginError::Data(error))?;
                return self.replay(known, &identity, until).await;
            }
        };
        let now = self.clock.now();
        let new = Saga {
            id: SagaId(self.ids.next()),
            scope: identity.scope.clone(),
            fingerprint: identity.fingerprint.clone(),
            state: first,
            data,
            created_at: now,
            updated_at: now,
            attempts: 0,
            needs_attention: false,
            version: 1,
            context: RequestContext::current(),
        };
        record_subject(M::KIND, &new.id);
        // Subscribed before the saga begins, so no notification is missed and the journal need not be read.
        let waiting = self.waiters.watch(new.id);
        match self.begin(new.clone(), identity.key.clone(), permit).await? {
            Some(known) => self.replay(known, &identity, until).await,
            None => Ok(Execution {
                saga: self.await_end(new, waiting, until).await?,
                replayed: false,
            }),
        }
    }

    /// Stores and drives the saga in a task of its own: cancelling the caller at any point must not leave a stored saga
    /// without a driver. Returns the existing saga if the key is taken.
    async fn begin<E>(&self, new: Saga<M>, key: String, permit: Permit) -> Result<Option<Saga<M>>, BeginError<E>> {
        let (engine, context) = (self.clone(), new.context.clone());
        let (sender, begun) = oneshot::channel();
        let work = async move {
            // Sending fails if the caller was cancelled. That is ignored: the saga runs all the same.
            match engine.journal.begin(&new, &key, &engine.lease).await {
                Ok(Begun::Created(fence)) => {
                    let _ = sender.send(Ok(None));
                    engine.drive(Claimed { saga: new, fence }, permit).await;
                }
                Ok(Begun::Exists(known)) => drop(sender.send(Ok(Some(*known)))),
                Ok(Begun::Refused) => drop(sender.send(Err(None))),
                Err(error) => drop(sender.send(Err(Some(error)))),
            }
        };
        self.tasks.spawn(match context {
            Some(context) => context.scope(work).boxed(),
            None => work.boxed(),
        });
        match begun.await {
            Ok(Ok(known)) => Ok(known),
            Ok(Err(None)) => Err(BeginError::Refused),
            Ok(Err(Some(error))) => Err(BeginError::Store(error)),
            Err(_) => Err(BeginError::Stopping),
        }
    }

    async fn replay<E>(
        &self,
        known: Saga<M>,
        identity: &Identity,
        until: Instant,
    ) -> Result<Execution<M>, BeginError<E>> {
        record_subject(M::KIND, &known.id);
        if known.fingerprint != identity.fingerprint {
            return Err(BeginError::KeyReused);
        }
        let saga = if known.has_ended() {
            known
        } else {
            let waiting = self.waiters.watch(known.id);
            // The saga may have ended before the subscription.
            let current = self.reload(known).await?;
            self.await_end(current, waiting, until).await?
        };
        Ok(Execution { saga, replayed: true })
    }

    async fn await_end(
        &self,
        saga: Saga<M>,
        waiting: waiters::Watcher<M>,
        until: Instant,
    ) -> Result<Saga<M>, StoreError> {
        self.await_state(saga, waiting, until, Saga::has_ended).await
    }

    /// Waits until `is_reached` holds or the deadline passes; returns the last known state. Progress in this process
    /// arrives through `waiting`; progress in another process is found by polling the journal.
    async fn await_state(
        &self,
        mut saga: Saga<M>,
        mut waiting: waiters::Watcher<M>,
        until: Instant,
        is_reached: impl Fn(&Saga<M>) -> bool + Send,
    ) -> Result<Saga<M>, StoreError> {
        let mut interval = POLL_INTERVAL;
        while !is_reached(&saga) {
            let next_poll = until.min(Instant::now() + interval);
            let reached = waiting.wait_for(|current| current.as_ref().is_some_and(&is_reached));
            if let Ok(Ok(reached)) = timeout_at(next_poll, reached).await
                && let Some(reached) = reached.clone()
            {
                return Ok(reached);
            }
            saga = self.reload(saga).await?;
            if Instant::now() >= until {
                break;
            }
            interval *= 2;
        }
        Ok(saga)
    }

    /// Waits until `is_reached` holds for the saga, or the deadline `until` passes; `None` if there is no such saga.
    pub async fn wait(
        &self,
        id: SagaId,
        until: Instant,
        is_reached: impl Fn(&Saga<M>) -> bool + Send,
    ) -> Result<Option<Saga<M>>, StoreError> {
        let waiting = self.waiters.watch(id);
        let Some((saga, _)) = self.journal.get(id, None).await? else {
            return Ok(None);
        };
        self.await_state(saga, waiting, until, is_reached).await.map(Some)
    }

    /// Sends a signal to a saga. The saga reads it at its next wait, or at once if it is waiting, in whichever process.
    pub async fn signal(&self, to: SagaId, signal: &Signal) -> Result<SignalOutcome, StoreError> {
        let sent = self.journal.send(to, signal).await?;
        self.due.notify_one();
        Ok(sent)
    }

    /// A saga with its history, oldest entry first; `None` also if `of` names another scope than the saga's.
    pub async fn get(&self, id: SagaId, of: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError> {
        self.journal.get(id, of).await
    }

    /// A page of sagas, oldest first, and the id to continue after if there are more.
    pub async fn list(&self, filter: Filter) -> Result<(Vec<Saga<M>>, Option<SagaId>), StoreError> {
        let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let one_more = Filter {
            limit: filter.limit.saturating_add(1),
            ..filter
        };
        let mut found = self.journal.list(one_more).await?;
        let more = found.len() > page;
        found.truncate(page);
        let next = found.last().filter(|_| more).map(|saga| saga.id);
        Ok((found, next))
    }

    /// Reads the saga again. Returns the known state if the store is unavailable: the saga itself goes on, so its
    /// waiters keep waiting.
    async fn reload(&self, saga: Saga<M>) -> Result<Saga<M>, StoreError> {
        match self.journal.get(saga.id, None).await {
            Ok(found) => Ok(found.map_or(saga, |(current, _)| current)),
            Err(error @ StoreError::Unavailable(_)) => {
                let (id, error) = (saga.id, chain(&error));
                tracing::warn!(saga = %id, error, "the journal cannot be read; its last known state is used");
                Ok(saga)
            }
            Err(error) => Err(error),
        }
    }

    fn free_permits(&self) -> u32 {
        u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX)
    }

    /// Waits for a permit. Permits are granted in the order of the requests.
    async fn permit(&self) -> Permit {
        self.permits.clone().acquire_owned().await.ok()
    }
}
