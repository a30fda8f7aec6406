//! Connections to the database that are cut while stock is sold.

use std::fmt::Debug;

use futures::future::{join, join_all};
use storage::StoreError;
use testing::{Fixture, PostgresFixture};

use super::{HOUR, MICE, MOUSE, Stores, assert_balanced, lines, new_checkout, stock_of};

const ROUNDS: i64 = 10;
const BUYERS: i64 = 16;

/// Makes a call as its callers do: again until the answer is known. Also how often it was not known.
async fn insist<T: Debug>(call: impl AsyncFn() -> Result<T, StoreError>) -> (T, usize) {
    for failures in 0..100 {
        match call().await {
            Ok(answer) => return (answer, failures),
            Err(StoreError::Unavailable(_)) => {}
            Err(other @ (StoreError::Conflict | StoreError::Corrupt(_))) => panic!("{other:?}"),
        }
    }
    panic!("it does not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sale_whose_connections_are_cut_happens_once() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let stores = [fixture.open().await, fixture.open().await];
    let wanted = &lines(&[(MOUSE, 1)]);
    let buy = async |n: i64| {
        let (store, checkout) = (&stores[usize::from(n % 2 == 0)], new_checkout());
        let (reserved, again) = insist(async || store.reserve(checkout, wanted, HOUR).await).await;
        reserved.unwrap();
        let (confirmed, once_more) = insist(async || store.confirm(checkout).await).await;
        confirmed.unwrap();
        again + once_more
    };
    let mut hand = fixture.connect().await;
    let mut failures = 0;
    for _ in 0..ROUNDS {
        let (failed, ()) = join(join_all((0..BUYERS).map(buy)), fixture.cut(&mut hand)).await;
        failures += failed.into_iter().sum::<usize>();
    }
    assert!(failures > 0, "nothing was cut in the middle of anything");
    // A connection that was not used since may still be a dead one.
    let store = fixture.open().await;
    assert_eq!(stock_of(&*store, MOUSE).await, (MICE - ROUNDS * BUYERS, 0));
    assert_balanced(&fixture).await;
}
