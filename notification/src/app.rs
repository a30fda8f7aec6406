//! The use cases.

use std::sync::Arc;

use runtime::Clock;
use storage::{Cursor, Page, StoreError};

use crate::{
    domain::{Notification, UserId},
    ports::{NotificationStore, Told},
};

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
}
