//! The use cases.

use std::sync::Arc;

use runtime::Clock;
use storage::{Cursor, Page, StoreError};
use uuid::Uuid;

use crate::{
    domain::{Order, OrderId, UserId},
    ports::{OrderStore, Recorded},
};

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
}
