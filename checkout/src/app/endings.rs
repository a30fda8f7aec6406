//! Who waits for a saga to end.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::domain::{Checkout, CheckoutId};

/// Shows the checkout once its saga has ended in this process.
pub(super) type Ending = watch::Receiver<Option<Checkout>>;

/// The sagas that somebody in this process waits for, by id.
#[derive(Default)]
pub(super) struct Endings(Mutex<HashMap<CheckoutId, watch::Sender<Option<Checkout>>>>);

impl Endings {
    /// Watches a saga. Look into the journal after this, unless the saga is still to begin: it may have ended before.
    pub(super) fn watch(&self, id: CheckoutId) -> Ending {
        let mut endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for any more, and whose sagas ended elsewhere, go here.
        if endings.len() >= 1024 {
            endings.retain(|_, ending| ending.receiver_count() > 0);
        }
        endings
            .entry(id)
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe()
    }

    pub(super) fn end(&self, checkout: &Checkout) {
        let ending = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&checkout.id);
        if let Some(ending) = ending {
            ending.send_replace(Some(checkout.clone()));
        }
    }
}
