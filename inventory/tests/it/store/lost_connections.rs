//! Sales while connections to the database are lost.

use std::fmt::Debug;

use futures::future::{join, join_all};
use storage::StoreError;
use testing::{Fixture, PostgresFixture};

use super::{HOUR, MICE, MOUSE, StoreFixture, assert_balanced, lines, new_checkout, stock_of};

const ROUNDS: i64 = 10;
const BUYERS: i64 = 16;

/// Retries a call until its outcome is known. Returns the answer and the number of unknown outcomes.
async fn retry_until_known<T: Debug>(call: impl AsyncFn() -> Result<T, StoreError>) -> (T, usize) {
    for failures in 0..100 {
        match call().await {
            Ok(answer) => return (answer, failures),
            Err(StoreError::Unavailable(_)) => {}
            Err(other @ (StoreError::Conflict | StoreError::Corrupt(_))) => panic!("{other:?}"),
        }
    }
    panic!("the database does not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sale_whose_connections_are_lost_happens_once() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let stores = [fixture.open().await, fixture.open().await];
    let wanted = &lines(&[(MOUSE, 1)]);
    let buy = async |n: i64| {
        let (store, checkout) = (&stores[usize::from(n % 2 == 0)], new_checkout());
        let (reserved, failed_reserves) = retry_until_known(async || store.reserve(checkout, wanted, HOUR).await).await;
        reserved.unwrap();
        let (confirmed, failed_confirms) = retry_until_known(async || store.confirm(checkout).await).await;
        confirmed.unwrap();
        failed_reserves + failed_confirms
    };
    let mut admin = fixture.connect().await;
    let mut failures = 0;
    for _ in 0..ROUNDS {
        let (failed, ()) = join(join_all((0..BUYERS).map(buy)), fixture.cut(&mut admin)).await;
        failures += failed.into_iter().sum::<usize>();
    }
    assert!(failures > 0, "no call lost its connection");
    // The pools of the other stores may still contain dead connections.
    let store = fixture.open().await;
    assert_eq!(stock_of(&*store, MOUSE).await, (MICE - ROUNDS * BUYERS, 0));
    assert_balanced(&fixture).await;
}
