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

/// The number of sagas that one engine drives at once. More sagas would compete for the participants' connections
/// until all of them miss their deadlines; so running sagas finish before new ones begin.
pub const PERMITS: usize = 256;

/// The first interval at which a waiter polls the journal, because the saga may be driven by another process. The
/// interval doubles with each poll.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A permit to drive a saga, returned when it is dropped.
struct Permit {
    /// Never `None`: the semaphore is not closed.
    _permit: Option<OwnedSemaphorePermit>,
}

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

/// The idempotency key of a request. At most one saga ever begins per scope and key.
#[derive(Debug, Clone)]
pub struct RequestKey {
    /// The owner of the key, such as a user.
    pub scope: String,
    pub key: String,
    /// A digest of the request. A request with the same key and another fingerprint is refused.
    pub fingerprint: String,
}

/// Why no saga can be returned. After `Store` or `Stopping` the saga may exist: repeat the request with the same key.
/// After `KeyReused` the key is taken. After `Busy`, `Refused` and `Data` no saga of this key is known.
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

/// A final saga, or its last known state at the caller's deadline.
#[derive(Debug)]
pub struct Execution<M: Machine> {
    pub saga: Saga<M>,
    /// Whether the saga existed before this call.
    pub replayed: bool,
}

impl<M: Machine> Engine<M> {
    /// An engine that may begin sagas at once: see [`Self::release_leases_of_earlier_run`].
    pub async fn start(parts: Parts<M>, runtime: &Runtime) -> Self {
        let engine = Self::new(parts, runtime);
        engine.release_leases_of_earlier_run().await;
        engine
    }

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

    /// Begins the saga of this key with the result of `data`, and waits until the saga is final or the deadline passes.
    /// If the key is known, waits for its saga and does not poll `data`.
    pub async fn begin_or_join<E>(
        &self,
        request: RequestKey,
        first: M::State,
        deadline: Instant,
        data: impl Future<Output = Result<M::Data, E>>,
    ) -> Result<Execution<M>, BeginError<E>> {
        if let Some(known) = self.journal.find(&request.scope, &request.key).await? {
            return self.replay(known, &request, deadline).await;
        }
        let permit = timeout_at(deadline, self.permit())
            .await
            .map_err(|_| BeginError::Busy)?;
        let data = match data.await {
            Ok(data) => data,
            // A concurrent request with this key may have begun the saga meanwhile, and may be the cause of this error.
            // Then its saga is the answer.
            Err(error) => {
                drop(permit);
                let known = self.journal.find(&request.scope, &request.key).await?;
                let known = known.ok_or(BeginError::Data(error))?;
                return self.replay(known, &request, deadline).await;
            }
        };
        let now = self.clock.now();
        let new = Saga {
            id: SagaId(self.ids.next()),
            scope: request.scope.clone(),
            fingerprint: request.fingerprint.clone(),
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
        // Subscribed before the saga begins, so that no change is missed between begin and the first poll.
        let waiting = self.waiters.watch(new.id);
        match self.begin(new.clone(), request.key.clone(), permit).await? {
            Some(known) => self.replay(known, &request, deadline).await,
            None => Ok(Execution {
                saga: self.await_end(new, waiting, deadline).await?,
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
            let begun = engine.journal.begin(&new, &key, &engine.lease).await;
            let fence = match &begun {
                Ok(Begun::Created(fence)) => Some(*fence),
                Ok(Begun::Exists(_) | Begun::Refused) | Err(_) => None,
            };
            // Sending fails if the caller was cancelled. That is ignored: the saga runs all the same.
            let _ = sender.send(begun);
            if let Some(fence) = fence {
                engine.drive(Claimed { saga: new, fence }, permit).await;
            }
        };
        self.tasks.spawn(match context {
            Some(context) => context.scope(work).boxed(),
            None => work.boxed(),
        });
        match begun.await {
            Ok(Ok(Begun::Created(_))) => Ok(None),
            Ok(Ok(Begun::Exists(known))) => Ok(Some(*known)),
            Ok(Ok(Begun::Refused)) => Err(BeginError::Refused),
            Ok(Err(error)) => Err(BeginError::Store(error)),
            Err(_) => Err(BeginError::Stopping),
        }
    }

    async fn replay<E>(
        &self,
        known: Saga<M>,
        request: &RequestKey,
        deadline: Instant,
    ) -> Result<Execution<M>, BeginError<E>> {
        record_subject(M::KIND, &known.id);
        if known.fingerprint != request.fingerprint {
            return Err(BeginError::KeyReused);
        }
        let saga = if known.is_final() {
            known
        } else {
            let waiting = self.waiters.watch(known.id);
            // The saga may have become final before the subscription.
            let current = self.reload(known).await?;
            self.await_end(current, waiting, deadline).await?
        };
        Ok(Execution { saga, replayed: true })
    }

    async fn await_end(
        &self,
        saga: Saga<M>,
        waiting: waiters::Watcher<M>,
        deadline: Instant,
    ) -> Result<Saga<M>, StoreError> {
        self.await_state(saga, waiting, deadline, Saga::is_final).await
    }

    /// Waits until `is_reached` holds or the deadline passes; returns the last known state. Progress in this process
    /// arrives through `waiting`; progress in another process is found by polling the journal.
    async fn await_state(
        &self,
        mut saga: Saga<M>,
        mut waiting: waiters::Watcher<M>,
        deadline: Instant,
        is_reached: impl Fn(&Saga<M>) -> bool + Send,
    ) -> Result<Saga<M>, StoreError> {
        let mut interval = POLL_INTERVAL;
        while !is_reached(&saga) {
            let next_poll = deadline.min(Instant::now() + interval);
            let reached = waiting.wait_for(|current| current.as_ref().is_some_and(&is_reached));
            if let Ok(Ok(reached)) = timeout_at(next_poll, reached).await
                && let Some(reached) = reached.clone()
            {
                return Ok(reached);
            }
            saga = self.reload(saga).await?;
            if Instant::now() >= deadline {
                break;
            }
            interval *= 2;
        }
        Ok(saga)
    }

    /// Waits until `is_reached` holds for the saga, or the deadline passes; `None` if there is no such saga.
    pub async fn wait(
        &self,
        id: SagaId,
        deadline: Instant,
        is_reached: impl Fn(&Saga<M>) -> bool + Send,
    ) -> Result<Option<Saga<M>>, StoreError> {
        let waiting = self.waiters.watch(id);
        let Some((saga, _)) = self.journal.get(id, None).await? else {
            return Ok(None);
        };
        self.await_state(saga, waiting, deadline, is_reached).await.map(Some)
    }

    /// Sends a signal to a saga. The saga reads it at its next wait, or at once if it is waiting, in whichever process.
    pub async fn signal(&self, to: SagaId, signal: &Signal) -> Result<SignalOutcome, StoreError> {
        let sent = self.journal.send(to, signal).await?;
        self.due.notify_one();
        Ok(sent)
    }

    /// A saga with its history, oldest entry first; `None` also if the saga belongs to another scope than `scope`.
    pub async fn get(&self, id: SagaId, scope: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError> {
        self.journal.get(id, scope).await
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
        Permit {
            _permit: self.permits.clone().acquire_owned().await.ok(),
        }
    }
}
