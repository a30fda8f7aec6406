//! Database connections that are closed while orders are recorded.

use std::sync::Arc;

use futures::future::{join, join_all};
use orders::{
    domain::{Order, UserId},
    ports::{OrderStore, Recorded},
};
use storage::StoreError;
use testing::{Fixture, PostgresFixture};
use uuid::Uuid;

use crate::store::{StoreFixture, now, order};

/// Records an order until the outcome is known, as a consumer does. Also returns the number of unknown outcomes.
async fn record_until_known(store: &Arc<dyn OrderStore>, order: &Order, event: u128) -> (Recorded, usize) {
    for failures in 0..100 {
        match store.record(order, Uuid::from_u128(event), now()).await {
            Ok(recorded) => return (recorded, failures),
            Err(StoreError::Unavailable(_)) => {}
            Err(other @ (StoreError::Conflict | StoreError::Corrupt(_))) => panic!("{other:?}"),
        }
    }
    panic!("still unknown after 100 calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_with_lost_connections_are_recorded_once() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let stores = [fixture.open().await, fixture.open().await];
    let mut admin = fixture.connect().await;
    let (mut orders, mut failures) = (Vec::new(), 0);
    for round in 0..10 {
        let new: Vec<_> = (0..16)
            .map(|n: u128| order(round * 16 + n, "ann", i64::try_from(round * 16 + n).unwrap()))
            .collect();
        let records = (round * 16..)
            .zip(&new)
            .map(|(event, order)| record_until_known(&stores[usize::from(event % 2 == 0)], order, event));
        let (recorded, ()) = join(join_all(records), fixture.cut(&mut admin)).await;
        for (recorded, failed) in recorded {
            // A duplicate is possible only after a commit whose answer was lost.
            assert!(recorded == Recorded::Created || failed > 0, "{recorded:?}");
            failures += failed;
        }
        orders.extend(new);
    }
    orders.reverse();
    // The pools of the other stores may still have dead connections.
    let store = fixture.open().await;
    let page = store.list(&UserId::new("ann").unwrap(), None, 1_000).await.unwrap();
    assert_eq!(page.items, orders);
    assert!(failures > 0, "no call was interrupted");
}
