//! Searches over texts that this program folds, since databases cannot. Rows that are not folded are those of the time before
//! there was `search_folded`, and those that a process of an earlier version wrote since.

use async_trait::async_trait;
use runtime::telemetry::chain;
use storage::StoreError;

use super::row::ProductRow;
use crate::domain::Query;

/// Rows that are folded in one transaction, at most.
pub(super) const AT_ONCE: i64 = 500;
/// How often a search begins anew, at most, because somebody writes rows without folding them all the time.
const TRIES: u32 = 5;

/// A row that has all words; or, where the last value says so, one that is not folded.
pub(super) type Found<Time> = (i64, String, String, i64, String, String, Time, bool);

/// What it takes of a database.
#[async_trait]
pub(super) trait Folding<Time> {
    /// Folds some of the rows that are not; whether there were any.
    async fn fold_some(&self) -> Result<bool, StoreError>;
    /// The first `limit` rows behind `after` that have all words, and one that is not folded, if there is one.
    async fn search(&self, query: &Query, after: i64, limit: u32) -> Result<Vec<Found<Time>>, StoreError>;
}

/// Folds what is not. A store that cannot be written now is no reason not to start: a search tries again.
pub(super) async fn fold_at_start<Time: Send>(store: &(impl Folding<Time> + Sync)) {
    if let Err(error) = fold_all(store).await {
        tracing::warn!(error = chain(&error), "products cannot be prepared for searches now");
    }
}

async fn fold_all<Time: Send>(store: &(impl Folding<Time> + Sync)) -> Result<(), StoreError> {
    while store.fold_some().await? {}
    Ok(())
}

/// What a search finds among rows that are folded. One that is not is folded first, unless the store takes no writes now.
pub(super) async fn found<Time: Send>(
    store: &(impl Folding<Time> + Sync),
    query: &Query,
    after: i64,
    limit: u32,
) -> Result<Vec<ProductRow<Time>>, StoreError> {
    let mut tries = TRIES;
    loop {
        let rows = store.search(query, after, limit).await?;
        tries -= 1;
        let is_whole = tries == 0 || rows.iter().all(|(.., unfolded)| !unfolded);
        if is_whole || !could_fold(store).await {
            let folded = rows.into_iter().filter(|(.., unfolded)| !unfolded);
            return Ok(folded
                .map(|(id, name, description, price, currency, image_url, created_at, _)| {
                    (id, name, description, price, currency, image_url, created_at)
                })
                .collect());
        }
    }
}

/// Folds what is not; false when the store takes no writes now.
async fn could_fold<Time: Send>(store: &(impl Folding<Time> + Sync)) -> bool {
    let folded = fold_all(store).await;
    if let Err(error) = &folded {
        tracing::warn!(
            error = chain(error),
            "products that are not prepared cannot be found now"
        );
    }
    folded.is_ok()
}
