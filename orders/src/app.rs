//! The use cases.

use std::sync::Arc;

use runtime::Clock;
use storage::{Cursor, Page, StoreError};
use uuid::Uuid;

use crate::{
    domain::{CheckoutId, Order, OrderId, UserId},
    ports::{OrderStore, Recorded},
};

/// Orders that one transaction erases, at most.
const ERASED_AT_ONCE: u32 = 1000;

/// Placing orders and looking at them.
#[derive(Clone)]
pub struct Orders {
    store: Arc<dyn OrderStore>,
    clock: Clock,
}

impl Orders {
    pub const fn new(store: Arc<dyn OrderStore>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Keeps the order that an event tells of, once in effect.
    pub(crate) async fn place(&self, order: &Order, event: Uuid) -> Result<Recorded, StoreError> {
        self.store.record(order, event, self.clock.now()).await
    }

    /// One order; to a user, another's is not there.
    pub(crate) async fn get(&self, user: &UserId, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.store.find(user, id).await
    }

    /// Newest first.
    pub(crate) async fn list(
        &self,
        user: &UserId,
        after: Option<Cursor>,
        size: u32,
    ) -> Result<Page<Order>, StoreError> {
        self.store.list(user, after, size).await
    }

    /// Makes the orders of this user nobody's, and those of these checkouts when they come later. Returns how many there were.
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
