//! The use cases.

mod expire_holds;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use storage::StoreError;

use crate::{
    domain::{CheckoutId, Delivery, KeyReused, Lines, ProductId, Refusal, Stock},
    ports::StockStore,
};

pub(crate) use expire_holds::expire_holds;

/// The most products that are listed at once.
const MAX_LISTED: u32 = 1_000;

/// The inventory as its callers use it.
#[derive(Clone)]
pub(crate) struct Inventory {
    store: Arc<dyn StockStore>,
    ttl: Duration,
}

impl Inventory {
    pub(crate) fn new(store: Arc<dyn StockStore>, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// Stock of these products, of all when none is named.
    pub(crate) async fn stock(&self, products: &[ProductId]) -> Result<Vec<Stock>, StoreError> {
        let named = if products.is_empty() { None } else { Some(products) };
        self.store.stock(named, MAX_LISTED).await
    }

    pub(crate) async fn reserve(
        &self,
        checkout: CheckoutId,
        lines: &Lines,
    ) -> Result<Result<Timestamp, Refusal>, StoreError> {
        self.store.reserve(checkout, lines, self.ttl).await
    }

    pub(crate) async fn confirm(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.store.confirm(checkout).await
    }

    pub(crate) async fn release(&self, checkout: CheckoutId) -> Result<Result<(), Refusal>, StoreError> {
        self.store.release(checkout).await
    }

    pub(crate) async fn receive(&self, delivery: &Delivery) -> Result<Result<Stock, KeyReused>, StoreError> {
        self.store.receive(delivery).await
    }
}
