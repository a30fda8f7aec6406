//! The use cases. An operation without a rule has none: its caller calls the port.

use storage::StoreError;

use crate::{
    domain::{CheckoutId, UserId},
    ports::OrderStore,
};

/// The most orders that one transaction erases.
const ERASE_BATCH: u32 = 1000;

/// Detaches the user from all orders, and from later orders of these checkouts. Returns the number of orders changed.
pub(crate) async fn erase_user(
    store: &dyn OrderStore,
    user: &UserId,
    checkouts: &[CheckoutId],
) -> Result<u64, StoreError> {
    let mut erased = 0;
    loop {
        let batch = store.erase(user, checkouts, ERASE_BATCH).await?;
        erased += batch;
        if batch < u64::from(ERASE_BATCH) {
            return Ok(erased);
        }
    }
}
