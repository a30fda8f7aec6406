//! The use cases.

use std::sync::Arc;

use runtime::Clock;
use storage::{BoundedError, StoreError};

use crate::{
    domain::{Details, Product, ProductId, Query},
    ports::Catalogue,
};

/// The catalogue as its callers use it.
#[derive(Clone)]
pub(crate) struct Products {
    catalogue: Arc<dyn Catalogue>,
    clock: Clock,
}

/// Some products, and after which one the next page starts: `None` on the last page.
pub(crate) struct Page {
    pub(crate) products: Vec<Product>,
    pub(crate) next: Option<ProductId>,
}

impl Products {
    pub(crate) fn new(catalogue: Arc<dyn Catalogue>, clock: Clock) -> Self {
        Self { catalogue, clock }
    }

    pub(crate) async fn page(&self, query: &Query, after: Option<ProductId>, size: u32) -> Result<Page, BoundedError> {
        // One more than asked for says whether there is a next page.
        let mut products = self.catalogue.page(query, after, size.saturating_add(1)).await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = products.len() > size;
        products.truncate(size);
        let next = if more {
            products.last().map(|product| product.id)
        } else {
            None
        };
        Ok(Page { products, next })
    }

    pub(crate) async fn get(&self, id: ProductId) -> Result<Option<Product>, StoreError> {
        Ok(self.catalogue.find(&[id]).await?.pop())
    }

    pub(crate) async fn find(&self, ids: &[ProductId]) -> Result<Vec<Product>, StoreError> {
        self.catalogue.find(ids).await
    }

    pub(crate) async fn upsert(&self, id: Option<ProductId>, details: &Details) -> Result<Product, StoreError> {
        self.catalogue.put(id, details, self.clock.now()).await
    }
}
