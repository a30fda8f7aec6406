//! The use cases. What has no rule beside those of the port has none: its caller calls the port.

use storage::StoreError;

use crate::{
    domain::{CheckoutId, UserId},
    ports::OrderStore,
};

/// Orders that one transaction erases, at most.
const ERASED_AT_ONCE: u32 = 1000;

/// Makes the orders of this user nobody's, and those of these checkouts when they come later. Returns how many there were.
pub(crate) async fn erase_user(
    store: &dyn OrderStore,
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
