//! Removes all that is kept of a customer.

use storage::StoreError;

use super::{CartError, Carts, Parts};
use crate::domain::{UserId, Version};

impl Carts {
    /// Removes a customer's cart, whatever is in it, and the copy in the cache. Returns whether there was a cart. What a
    /// checkout holds in it may go as well: the purchase finds nothing to drop or to give back, which is fine.
    ///
    /// A new cart begins with version 1 again, and a cache takes no older version for a newer one. So no copy is believed from
    /// before the removal on, and afterwards the cache forgets that there was one.
    pub async fn erase(&self, user: UserId) -> Result<bool, CartError> {
        let turn = self.0.turns.of(&user).await;
        let carts = self.clone();
        let erased = self.0.tasks.spawn(async move {
            let _turn = turn;
            let Parts { store, cache, .. } = &*carts.0;
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
