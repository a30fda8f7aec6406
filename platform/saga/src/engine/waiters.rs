//! Who waits for a saga to come to a state or to its end.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    machine::Machine,
    saga::{Saga, SagaId},
};

/// Shows the saga as it was last persisted in this process.
pub(super) type Waiting<M> = watch::Receiver<Option<Saga<M>>>;

/// The sagas that somebody in this process waits for.
pub(super) struct Waiters<M: Machine>(Mutex<HashMap<SagaId, watch::Sender<Option<Saga<M>>>>>);

impl<M: Machine> Default for Waiters<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M: Machine> Waiters<M> {
    /// Watches a saga. Look into the journal after this, unless the saga is still to begin: it may have ended before.
    pub(super) fn watch(&self, id: SagaId) -> Waiting<M> {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for any more, and whose sagas ended elsewhere, go here.
        if waiters.len() >= 1024 {
            waiters.retain(|_, sender| sender.receiver_count() > 0);
        }
        waiters
            .entry(id)
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe()
    }

    /// Tells those who wait for a saga how far it is.
    pub(super) fn tell(&self, saga: &Saga<M>) {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if saga.has_ended() {
            if let Some(sender) = waiters.remove(&saga.id) {
                sender.send_replace(Some(saga.clone()));
            }
        } else if let Some(sender) = waiters.get(&saga.id) {
            sender.send_replace(Some(saga.clone()));
        }
    }
}
