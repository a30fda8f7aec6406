//! The use cases. What has no rule beside those of the port has none: its caller calls the port.

use storage::StoreError;

use crate::{
    domain::{CheckoutId, UserId},
    ports::NotificationStore,
};

/// Notifications that one transaction removes, at most.
const ERASED_AT_ONCE: u32 = 1000;

/// Removes what this user was told; of these checkouts nobody is told later either. Returns how many were removed.
pub(crate) async fn erase_user(
    store: &dyn NotificationStore,
    user: &UserId,
    checkouts: &[CheckoutId],
) -> Result<u64, StoreError> {
    let mut erased = 0;
    loop {
        let some = store.erase(user, checkouts, ERASED_AT_ONCE).await?;
        erased += some;
        if some < u64::from(ERASED_AT_ONCE) {
            return Ok(erased);
        }
    }
}
