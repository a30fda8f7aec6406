//! The use cases: gives stock back whose hold has run out. The other methods have no rule beside those of the port.

use std::{sync::Arc, time::Duration};

use runtime::Tasks;
use runtime::telemetry::chain;

use crate::ports::StockStore;

const INTERVAL: Duration = Duration::from_secs(1);
/// However short holds are, the store is not asked more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Holds in one transaction: few enough that reservations hardly wait for it.
const BATCH: u32 = 200;

/// Looks for holds that have run out, every second or more often if they last less than that, until the tasks are to stop.
pub(crate) async fn expire_holds(store: Arc<dyn StockStore>, ttl: Duration, tasks: Tasks) {
    let interval = ttl.clamp(SHORTEST_INTERVAL, INTERVAL);
    while tasks.sleep(interval).await {
        let mut expired = BATCH;
        while expired == BATCH && !tasks.is_stopping() {
            expired = store.expire(BATCH).await.unwrap_or_else(|error| {
                tracing::error!(
                    causes = chain(&error),
                    "holds that ran out could not be given back; trying again"
                );
                0
            });
        }
    }
}
