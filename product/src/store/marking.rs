//! Searches over texts that this program folds and marks, since databases cannot. Rows that are not marked are those of the
//! time before there was `search_marked`, and those that a process of an earlier version wrote since.

use async_trait::async_trait;
use futures::lock::Mutex;
use runtime::telemetry::chain;
use storage::{BoundedError, StoreError};

use super::row::ProductRow;
use crate::domain::{Query, folded, marked};

/// Rows that are marked in one transaction, at most.
pub(super) const AT_ONCE: i64 = 500;
/// How often a search begins anew, at most, because somebody writes rows without marking them all the time.
const TRIES: u32 = 5;

/// What is looked for: the first `limit` products behind `after`.
#[derive(Debug, Clone)]
pub(super) struct Search {
    /// Each is in what `search_marked` has of a product that is found.
    pub(super) phrases: Vec<String>,
    pub(super) after: i64,
    pub(super) limit: u32,
}

/// What it takes of a database.
#[async_trait]
pub(super) trait Marking<Time> {
    /// Marks some of the rows behind `after` that are not, in the order of ids; the last one, if there was any.
    async fn mark_some(&self, after: i64) -> Result<Option<i64>, StoreError>;
    /// What is found among rows that are marked; and whether all are.
    async fn search(&self, search: Search) -> Result<(Vec<ProductRow<Time>>, bool), BoundedError>;
    /// Held by the one who marks: the others wait for that instead of taking connections.
    fn marking(&self) -> &Mutex<()>;
}

/// What `search_marked` has to be for this `search_text`.
pub(super) fn to_marked(search_text: &str) -> String {
    marked(&folded(search_text))
}

/// Marks what is not. A store that cannot be written now is no reason not to start: a search tries again.
pub(super) async fn mark_at_start<Time: Send>(store: &(impl Marking<Time> + Sync)) {
    if let Err(error) = mark_all(store).await {
        tracing::warn!(error = chain(&error), "products cannot be prepared for searches now");
    }
}

async fn mark_all<Time: Send>(store: &(impl Marking<Time> + Sync)) -> Result<(), StoreError> {
    let _alone = store.marking().lock().await;
    // From where it got to: looking again among those that are marked by now would take longer each time.
    let mut after = 0;
    while let Some(last) = store.mark_some(after).await? {
        after = last;
    }
    Ok(())
}

/// What a search finds among all rows. One that is not marked is marked first, unless the store takes no writes now.
pub(super) async fn found<Time: Send>(
    store: &(impl Marking<Time> + Sync),
    (query, after, limit): (&Query, i64, u32),
) -> Result<Vec<ProductRow<Time>>, BoundedError> {
    let search = Search {
        phrases: query.phrases(),
        after,
        limit,
    };
    let mut tries = TRIES;
    loop {
        let (rows, are_all_marked) = store.search(search.clone()).await?;
        tries -= 1;
        if are_all_marked || tries == 0 || !could_mark(store).await {
            return Ok(rows);
        }
    }
}

/// Marks what is not; false when the store takes no writes now.
async fn could_mark<Time: Send>(store: &(impl Marking<Time> + Sync)) -> bool {
    let marked = mark_all(store).await;
    if let Err(error) = &marked {
        tracing::warn!(
            error = chain(error),
            "products that are not prepared cannot be found now"
        );
    }
    marked.is_ok()
}
