//! The use cases. An operation without a rule has none: its caller calls the port.

use storage::StoreError;

use crate::{
    domain::{CheckoutId, UserId},
    ports::NotificationStore,
};

/// The most notifications that one transaction deletes.
const ERASE_BATCH: u32 = 1000;

/// Deletes all notifications of the user and prevents later ones of these checkouts. Returns the number deleted.
pub(crate) async fn erase_user(
    store: &dyn NotificationStore,
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
