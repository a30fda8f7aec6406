//! Searches over `search_marked`: the search text folded and with markers, which databases cannot compute. Rows of
//! versions before this column, or of processes of such a version that still run, have none; a backfill fills it.

use async_trait::async_trait;
use futures::lock::Mutex;
use runtime::telemetry::chain;
use storage::{BoundedError, StoreError};

use crate::domain::{Product, Query, folded, with_markers};

/// Rows in one transaction of the backfill, at most.
pub(super) const BATCH_SIZE: i64 = 500;
/// Attempts of a search while processes of an earlier version keep writing rows.
const MAX_ATTEMPTS: u32 = 5;

/// A search for the first `limit` products after `after`.
#[derive(Debug, Clone)]
pub(super) struct Search {
    /// `search_marked` of a match contains all of them.
    pub(super) phrases: Vec<String>,
    pub(super) after: i64,
    pub(super) limit: u32,
}

/// The search of one database.
#[async_trait]
pub(super) trait SearchStore {
    /// Backfills a batch of rows after `after`, in id order. Returns the last id of the batch, if any.
    async fn backfill_batch(&self, after: i64) -> Result<Option<i64>, StoreError>;
    /// The matches among the backfilled rows, and whether all rows are backfilled.
    async fn search(&self, search: Search) -> Result<(Vec<Product>, bool), BoundedError>;
    /// Held during a backfill, so that other searches wait here without a connection.
    fn backfill_lock(&self) -> &Mutex<()>;
}

/// The value of `search_marked` for this `search_text`.
pub(super) fn search_marked(search_text: &str) -> String {
    with_markers(&folded(search_text))
}

/// Backfills at the start. Ignores a store that takes no writes, as searches retry.
pub(super) async fn backfill_at_start(store: &(impl SearchStore + Sync)) {
    if let Err(error) = backfill_all(store).await {
        tracing::warn!(
            error = chain(&error),
            "search texts could not be backfilled; searches retry"
        );
    }
}

async fn backfill_all(store: &(impl SearchStore + Sync)) -> Result<(), StoreError> {
    let _lock = store.backfill_lock().lock().await;
    // Each batch continues after the last one, because a scan of the backfilled rows would take longer each time.
    let mut after = 0;
    while let Some(last) = store.backfill_batch(after).await? {
        after = last;
    }
    Ok(())
}

/// Searches all rows. Backfills first if needed, unless the store takes no writes.
pub(super) async fn find_matches(
    store: &(impl SearchStore + Sync),
    (query, after, limit): (&Query, i64, u32),
) -> Result<Vec<Product>, BoundedError> {
    let search = Search {
        phrases: query.phrases(),
        after,
        limit,
    };
    let mut attempts_left = MAX_ATTEMPTS;
    loop {
        let (products, is_backfilled) = store.search(search.clone()).await?;
        attempts_left -= 1;
        if is_backfilled || attempts_left == 0 || !try_backfill(store).await {
            return Ok(products);
        }
    }
}

/// False if the store takes no writes.
async fn try_backfill(store: &(impl SearchStore + Sync)) -> bool {
    let backfilled = backfill_all(store).await;
    if let Err(error) = &backfilled {
        tracing::warn!(
            error = chain(error),
            "search texts could not be backfilled; their products are not found"
        );
    }
    backfilled.is_ok()
}
