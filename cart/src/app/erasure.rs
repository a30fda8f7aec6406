//! Deletes everything that is stored about a customer.

use storage::StoreError;

use super::{CartError, Carts, Inner};
use crate::domain::{UserId, Version};

impl Carts {
    /// Deletes a customer's cart, holds included, and its copy in the cache. Returns whether there was a cart. A
    /// checkout that finds no hold afterwards has nothing to drop or give back, and goes on.
    ///
    /// The next cart of this customer begins with version 1, which a cache refuses beside a newer version. So all
    /// versions are invalidated before the deletion, and the cache forgets the customer after it.
    pub async fn erase(&self, user: UserId) -> Result<bool, CartError> {
        let lock = self.0.locks.lock(&user).await;
        let carts = self.clone();
        let erased = self.0.tasks.spawn(async move {
            let _lock = lock;
            let Inner { store, cache, .. } = &*carts.0;
            cache.invalidate(&user, Version(i64::MAX)).await;
            let erased = store.erase(&user).await?;
            if cache.forget(&user).await {
                Ok(erased)
            } else {
                Err(StoreError::unavailable("the cache was not reached and may have a copy"))
            }
        });
        let erased = erased
            .await
            .unwrap_or_else(|panicked| Err(StoreError::corrupt(panicked)));
        Ok(erased?)
    }
}
