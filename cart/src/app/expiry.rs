//! Deletes carts that were not changed for 90 days, for stores that have no TTL of their own.
//!
//! The ids of applied events are deleted with the cart. If the topic is delivered again, a purchase finds no cart, or a
//! newer cart that counts all events from before its creation as applied (`Cart::bump_version`). A new cart begins with
//! version 1, and a cached copy of the deleted cart would hide it, so carts that may expire soon are not cached
//! (`Cart::may_expire_within`).

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Tasks, telemetry::chain};
use storage::StoreError;

use crate::ports::CartExpiry;

const INTERVAL: Duration = Duration::from_hours(1);

/// Deletes expired carts now and every hour, until the tasks stop. Several processes may do so at the same time.
pub(crate) async fn run(carts: Arc<dyn CartExpiry>, clock: Clock, tasks: Tasks) {
    loop {
        match delete_expired(carts.as_ref(), &clock, &tasks).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "deleted carts that were not changed for 90 days"),
            Err(error) => tracing::warn!(error = chain(&error), "expired carts could not be deleted"),
        }
        if !tasks.sleep(INTERVAL).await {
            return;
        }
    }
}

/// Deletes expired carts in batches, until none is left or the tasks stop. Returns how many were deleted.
pub async fn delete_expired(carts: &dyn CartExpiry, clock: &Clock, tasks: &Tasks) -> Result<u64, StoreError> {
    let mut deleted = 0;
    loop {
        let batch = carts.delete_expired_batch(clock.now()).await?;
        deleted += batch;
        if batch == 0 || tasks.is_stopping() {
            return Ok(deleted);
        }
    }
}
