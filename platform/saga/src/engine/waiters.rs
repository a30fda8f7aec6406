//! Callers in this process that wait for a saga to reach a state.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    machine::Machine,
    saga::{Saga, SagaId},
};

/// Receives the saga each time this process has persisted it.
pub(super) type Watcher<M> = watch::Receiver<Option<Saga<M>>>;

/// The watched sagas.
pub(super) struct Waiters<M: Machine>(Mutex<HashMap<SagaId, watch::Sender<Option<Saga<M>>>>>);

impl<M: Machine> Default for Waiters<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M: Machine> Waiters<M> {
    /// Watches a saga. Read the journal after this call, unless the saga is still to begin: it may be final already.
    pub(super) fn watch(&self, id: SagaId) -> Watcher<M> {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Removes entries without waiters. `notify` never removes them if another process ended their sagas.
        if waiters.len() >= 1024 {
            waiters.retain(|_, sender| sender.receiver_count() > 0);
        }
        waiters
            .entry(id)
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe()
    }

    /// Sends the saga to its waiters, and forgets it if it is final.
    pub(super) fn notify(&self, saga: &Saga<M>) {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if saga.is_final() {
            if let Some(sender) = waiters.remove(&saga.id) {
                sender.send_replace(Some(saga.clone()));
            }
        } else if let Some(sender) = waiters.get(&saga.id) {
            sender.send_replace(Some(saga.clone()));
        }
    }
}
