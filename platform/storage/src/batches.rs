//! Long work in short transactions.

use crate::StoreError;

/// Repeats `work`, each time for at most `limit` rows, until it finds fewer. Returns the number of all rows.
pub async fn in_batches<F>(limit: u32, work: impl Fn(u32) -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut all = 0;
    loop {
        let batch = work(limit).await?;
        all += batch;
        if batch < u64::from(limit) {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn work_is_repeated_until_a_batch_is_not_full() {
        for (batches, all, calls) in [(vec![0], 0, 1), (vec![3, 3, 2], 8, 3), (vec![3, 3, 0], 6, 3)] {
            let (left, limits) = (RefCell::new(batches.into_iter()), RefCell::new(Vec::new()));
            let done = in_batches(3, async |limit| {
                limits.borrow_mut().push(limit);
                Ok(left.borrow_mut().next().unwrap())
            });
            assert_eq!(done.await.unwrap(), all);
            assert_eq!(limits.into_inner(), vec![3; calls]);
        }
    }

    #[tokio::test]
    async fn work_that_fails_is_not_repeated() {
        let failed = in_batches(3, async |_| Err(StoreError::Conflict)).await;
        assert!(matches!(failed, Err(StoreError::Conflict)), "{failed:?}");
    }
}
