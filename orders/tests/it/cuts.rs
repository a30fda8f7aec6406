//! Connections to the database that are cut while orders are made.

use std::sync::Arc;

use futures::future::{join, join_all};
use orders::{
    domain::{Order, UserId},
    ports::{OrderStore, Recorded},
};
use storage::StoreError;
use testing::{Fixture, PostgresFixture};
use uuid::Uuid;

use crate::store::{Stores, now, order};

/// Records an order as a consumer does: again until it is known to be there. Also how often it was not known.
async fn insist(store: &Arc<dyn OrderStore>, order: &Order, event: u128) -> (Recorded, usize) {
    for failures in 0..100 {
        match store.record(order, Uuid::from_u128(event), now()).await {
            Ok(recorded) => return (recorded, failures),
            Err(StoreError::Unavailable(_)) => {}
            Err(other @ (StoreError::Conflict | StoreError::Corrupt(_))) => panic!("{other:?}"),
        }
    }
    panic!("it does not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_whose_connections_are_cut_are_made_once() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let stores = [fixture.open().await, fixture.open().await];
    let mut hand = fixture.connect().await;
    let (mut orders, mut failures) = (Vec::new(), 0);
    for round in 0..10 {
        let new: Vec<_> = (0..16)
            .map(|n: u128| order(round * 16 + n, "ann", i64::try_from(round * 16 + n).unwrap()))
            .collect();
        let records = (round * 16..)
            .zip(&new)
            .map(|(event, order)| insist(&stores[usize::from(event % 2 == 0)], order, event));
        let (recorded, ()) = join(join_all(records), fixture.cut(&mut hand)).await;
        for (recorded, failed) in recorded {
            // It was there before only if its commit was not heard of.
            assert!(recorded == Recorded::Created || failed > 0, "{recorded:?}");
            failures += failed;
        }
        orders.extend(new);
    }
    orders.reverse();
    // A connection that was not used since may still be a dead one.
    let store = fixture.open().await;
    let page = store.list(&UserId::new("ann").unwrap(), None, 1_000).await.unwrap();
    assert_eq!(page.items, orders);
    assert!(failures > 0, "nothing was cut in the middle of anything");
}
