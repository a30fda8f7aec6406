//! Carts that nobody has changed for 90 days go: swept out, where the store does not let them go by itself.
//!
//! With a cart go the ids of the events that it has applied. When the topic is delivered again after that, a purchase finds
//! no cart, which is nothing to do, or a newer one, which counts all that was published before it was made as applied
//! (`Cart::stamp`). With it goes its version, too: a new cart begins with 1. A copy of the old one in a cache would hide
//! that, so carts that may go soon are not copied (`Cart::may_go_within`).

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Tasks, telemetry::chain};
use storage::StoreError;

use crate::ports::OldCarts;

const EVERY: Duration = Duration::from_hours(1);

/// Sweeps now and every hour, until the tasks are stopping. Several processes may do so at the same time.
pub(crate) async fn keep_swept(carts: Arc<dyn OldCarts>, clock: Clock, tasks: Tasks) {
    loop {
        match sweep(carts.as_ref(), &clock, &tasks).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "swept out carts that nobody has changed for 90 days"),
            Err(error) => tracing::warn!(error = chain(&error), "old carts could not be swept out"),
        }
        if !tasks.sleep(EVERY).await {
            return;
        }
    }
}

/// Drops old carts, some at a time, until there are none left or the tasks are stopping. Returns how many there were.
pub async fn sweep(carts: &dyn OldCarts, clock: &Clock, tasks: &Tasks) -> Result<u64, StoreError> {
    let mut dropped = 0;
    loop {
        let some = carts.drop_some(clock.now()).await?;
        dropped += some;
        if some == 0 || tasks.is_stopping() {
            return Ok(dropped);
        }
    }
}
