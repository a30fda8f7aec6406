//! Replicas that start together.

use testing::{Fixture, PostgresFixture};

use super::StoreFixture;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_together_write_the_initial_stock_once() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let stores = futures::future::join_all((0..8).map(|_| fixture.open())).await;
    for store in stores {
        let stock = store.stock(None, 100).await.unwrap();
        let on_hand: Vec<_> = stock.iter().map(|stock| stock.on_hand).collect();
        assert_eq!(on_hand, [100, 500, 300, 150, 200]);
    }
    super::assert_balanced(&fixture).await;
}
