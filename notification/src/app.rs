//! The use cases.

use std::sync::Arc;

use runtime::Clock;
use storage::{Cursor, Page, StoreError};

use crate::{
    domain::{CheckoutId, Notification, UserId},
    ports::{NotificationStore, Told},
};

/// Notifications that one transaction removes, at most.
const ERASED_AT_ONCE: u32 = 1000;

/// Telling customers, and listing what they were told.
#[derive(Clone)]
pub struct Notifications {
    store: Arc<dyn NotificationStore>,
    clock: Clock,
}

impl Notifications {
    pub const fn new(store: Arc<dyn NotificationStore>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Tells a customer, once for each event.
    pub(crate) async fn tell(&self, notification: &Notification) -> Result<(), StoreError> {
        match self.store.tell(notification, self.clock.now()).await? {
            Told::Now => {
                let Notification {
                    id,
                    checkout_id,
                    kind,
                    user_id: _,
                    text: _,
                    created_at: _,
                } = notification;
                // Nothing personal goes into a log.
                tracing::info!(event = %id.0, checkout = %checkout_id.0, kind = kind.as_str(), "told a customer");
            }
            Told::Before => {}
        }
        Ok(())
    }

    /// Newest first.
    pub(crate) async fn list(
        &self,
        user: &UserId,
        after: Option<Cursor>,
        size: u32,
    ) -> Result<Page<Notification>, StoreError> {
        self.store.list(user, after, size).await
    }

    /// Removes what this user was told; of these checkouts nobody is told later either. Returns how many were removed.
    pub(crate) async fn erase(&self, user: &UserId, checkouts: &[CheckoutId]) -> Result<u64, StoreError> {
        let mut erased = 0;
        loop {
            let some = self.store.erase(user, checkouts, ERASED_AT_ONCE).await?;
            erased += some;
            if some < u64::from(ERASED_AT_ONCE) {
                return Ok(erased);
            }
        }
    }
}
