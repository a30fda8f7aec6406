//! The expiry of reservations. The gRPC interface calls the port for everything else.

use std::{sync::Arc, time::Duration};

use runtime::Tasks;
use runtime::telemetry::chain;

use crate::ports::StockStore;

const MAX_INTERVAL: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Reservations in one transaction: few enough that calls hardly wait for it.
const BATCH_SIZE: u32 = 200;

/// Expires due reservations every second, or more often for a shorter `ttl`, until the tasks stop.
pub(crate) async fn expire_reservations(store: Arc<dyn StockStore>, ttl: Duration, tasks: Tasks) {
    let interval = ttl.clamp(MIN_INTERVAL, MAX_INTERVAL);
    while tasks.sleep(interval).await {
        let mut expired = BATCH_SIZE;
        while expired == BATCH_SIZE && !tasks.is_stopping() {
            expired = store.expire(BATCH_SIZE).await.unwrap_or_else(|error| {
                tracing::error!(
                    causes = chain(&error),
                    "reservations could not be expired; trying again"
                );
                0
            });
        }
    }
}
