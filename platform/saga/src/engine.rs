//! Begins sagas once per key, and drives those that have begun.

mod drive;
mod recovery;
mod waiters;

use std::{sync::Arc, time::Duration};

use events::Wake;
use futures::FutureExt;
use runtime::{
    Clock, Ids, RequestContext, Runtime, Tasks,
    deadlines::SAGA_LEASE,
    telemetry::{about, chain},
};
use storage::StoreError;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    journal::{Begun, Claimed, Filter, Journal, Lease, Signalled},
    machine::{Calls, Machine},
    saga::{Entry, Saga, SagaId, Signal},
};
use waiters::Waiters;

/// Sagas that one process works on at once. Those that it has begun go on before it begins others: more at once would only
/// take the participants' connections from each other, until all of them are too late.
pub const PERMITS: usize = 256;

/// When a saga that may end in another process is looked up: after this time, and after twice as long each time.
const LOOK: Duration = Duration::from_millis(200);

/// The right to work on a saga, as long as it is held. Never `None`: the semaphore is not closed.
type Permit = Option<OwnedSemaphorePermit>;

/// What an engine is made of.
pub struct Parts<M: Machine> {
    pub journal: Arc<dyn Journal<M>>,
    pub calls: Arc<dyn Calls<M>>,
    /// Told when an event has been committed.
    pub wake: Wake,
    /// Names this process in leases. A process that comes back under the same name takes its sagas up at once, so two live
    /// ones must never share a name.
    pub owner: String,
}

/// Drives the sagas of one kind in this process. Clones share it.
#[derive(Clone)]
pub struct Engine<M: Machine> {
    journal: Arc<dyn Journal<M>>,
    calls: Arc<dyn Calls<M>>,
    wake: Wake,
    lease: Lease,
    clock: Clock,
    ids: Ids,
    tasks: Tasks,
    waiters: Arc<Waiters<M>>,
    permits: Arc<Semaphore>,
    /// Told when something may have become due here.
    due: Arc<Notify>,
}

/// What a saga is begun under.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whose the key is.
    pub scope: String,
    /// One saga begins under it, ever.
    pub key: String,
    /// What must be the same when the key is used again.
    pub fingerprint: String,
}

/// Why there is no saga to answer with. The key is still free, except for `KeyReused`.
#[derive(Debug)]
pub enum BeginError<E> {
    /// The key was used for something else.
    KeyReused,
    /// More is under way than can be worked on within the caller's time.
    Busy,
    /// The process is about to end.
    Stopping,
    /// The service's own rows did not allow it.
    Refused,
    Store(StoreError),
    /// There is nothing to begin with.
    Data(E),
}

impl<E> From<StoreError> for BeginError<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A saga, ended or as it stood when the caller's time was over.
#[derive(Debug)]
pub struct Answered<M: Machine> {
    pub saga: Saga<M>,
    /// The key was known before.
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

    /// Begins the saga of this key with what `data` gives, and waits for its end, at most until then. If the key is known, its
    /// saga is the answer, and `data` is not asked.
    pub async fn once<E>(
        &self,
        identity: Identity,
        first: M::State,
        until: Instant,
        data: impl Future<Output = Result<M::Data, E>>,
    ) -> Result<Answered<M>, BeginError<E>> {
        if let Some(known) = self.journal.find(&identity.scope, &identity.key).await? {
            return self.replay(known, &identity, until).await;
        }
        let permit = timeout_at(until, self.permit()).await.map_err(|_| BeginError::Busy)?;
        let data = match data.await {
            Ok(data) => data,
            // Another call with this key may have begun since, and may be why there is nothing to begin with: then it has its
            // answer.
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
        about(M::KIND, &new.id);
        // Watched before it begins, so that its end is not missed and need not be looked up.
        let waiting = self.waiters.watch(new.id);
        match self.begin(new.clone(), identity.key.clone(), permit).await? {
            Some(known) => self.replay(known, &identity, until).await,
            None => Ok(Answered {
                saga: self.await_end(new, waiting, until).await?,
                replayed: false,
            }),
        }
    }

    /// Stores the saga and drives it, detached from the caller: it may go away at any moment, between the two as well. Returns
    /// the saga that has the key, if there is one.
    async fn begin<E>(&self, new: Saga<M>, key: String, permit: Permit) -> Result<Option<Saga<M>>, BeginError<E>> {
        let (engine, context) = (self.clone(), new.context.clone());
        let (told, begun) = oneshot::channel();
        let work = async move {
            // Who asked may have gone away.
            match engine.journal.begin(&new, &key, &engine.lease).await {
                Ok(Begun::Created(fence)) => {
                    let _ = told.send(Ok(None));
                    engine.drive(Claimed { saga: new, fence }, permit).await;
                }
                Ok(Begun::Exists(known)) => drop(told.send(Ok(Some(*known)))),
                Ok(Begun::Refused) => drop(told.send(Err(None))),
                Err(error) => drop(told.send(Err(Some(error)))),
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
    ) -> Result<Answered<M>, BeginError<E>> {
        about(M::KIND, &known.id);
        if known.fingerprint != identity.fingerprint {
            return Err(BeginError::KeyReused);
        }
        let saga = if known.has_ended() {
            known
        } else {
            let waiting = self.waiters.watch(known.id);
            // It may have ended before the watch began.
            let current = self.look_up(known).await?;
            self.await_end(current, waiting, until).await?
        };
        Ok(Answered { saga, replayed: true })
    }

    /// The saga once it has ended, or as it stands at that time.
    async fn await_end(
        &self,
        saga: Saga<M>,
        waiting: waiters::Waiting<M>,
        until: Instant,
    ) -> Result<Saga<M>, StoreError> {
        self.await_state(saga, waiting, until, Saga::has_ended).await
    }

    /// The saga once `is_it`, or as it stands at that time.
    async fn await_state(
        &self,
        mut saga: Saga<M>,
        mut waiting: waiters::Waiting<M>,
        until: Instant,
        is_it: impl Fn(&Saga<M>) -> bool + Send,
    ) -> Result<Saga<M>, StoreError> {
        let mut look = LOOK;
        while !is_it(&saga) {
            let next_look = until.min(Instant::now() + look);
            let seen = waiting.wait_for(|seen| seen.as_ref().is_some_and(&is_it));
            if let Ok(Ok(seen)) = timeout_at(next_look, seen).await
                && let Some(seen) = seen.clone()
            {
                return Ok(seen);
            }
            // It may have gone on in another process: the journal knows.
            saga = self.look_up(saga).await?;
            if Instant::now() >= until {
                break;
            }
            look *= 2;
        }
        Ok(saga)
    }

    /// The saga once it has come to a state that `is_it`, or as it stands at that time; `None` if there is none.
    pub async fn wait(
        &self,
        id: SagaId,
        until: Instant,
        is_it: impl Fn(&Saga<M>) -> bool + Send,
    ) -> Result<Option<Saga<M>>, StoreError> {
        let waiting = self.waiters.watch(id);
        let Some((saga, _)) = self.journal.get(id, None).await? else {
            return Ok(None);
        };
        self.await_state(saga, waiting, until, is_it).await.map(Some)
    }

    /// Tells a saga something. It finds it when it waits, now or later, in whatever process.
    pub async fn signal(&self, to: SagaId, signal: &Signal) -> Result<Signalled, StoreError> {
        let sent = self.journal.send(to, signal).await?;
        self.due.notify_one();
        Ok(sent)
    }

    /// A saga with its history, oldest first. To a scope, another's is not there.
    pub async fn get(&self, id: SagaId, of: Option<&str>) -> Result<Option<(Saga<M>, Vec<Entry>)>, StoreError> {
        self.journal.get(id, of).await
    }

    /// A page, oldest first, and where the next one begins.
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

    /// The saga as the journal has it now. When the store does not answer, this is the last known state: the saga itself goes
    /// on, and its caller can wait on.
    async fn look_up(&self, saga: Saga<M>) -> Result<Saga<M>, StoreError> {
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

    /// How many sagas more could be worked on now.
    fn free_permits(&self) -> u32 {
        u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX)
    }

    /// Waits for a permit: first come, first served.
    async fn permit(&self) -> Permit {
        self.permits.clone().acquire_owned().await.ok()
    }
}
