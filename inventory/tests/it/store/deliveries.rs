//! Deliveries and the listing of stock.

use futures::future::join_all;
use inventory::domain::{KeyReused, Stock};

use super::{LAPTOP, LAPTOPS, StoreFixture, assert_balanced, delivery, product, stock_of};

pub(crate) async fn a_new_store_has_the_initial_stock(fixture: &dyn StoreFixture) {
    let stock = fixture.open().await.stock(None, 1_000).await.unwrap();
    let expected = [(1, 100), (2, 500), (3, 300), (4, 150), (5, 200)];
    assert_eq!(
        stock,
        expected.map(|(id, on_hand)| Stock {
            product: product(id),
            on_hand,
            held: 0
        })
    );
    assert_balanced(fixture).await;
}

pub(crate) async fn stock_is_listed_in_order_and_up_to_a_limit(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let listed = |stock: Vec<Stock>| stock.iter().map(|stock| stock.product.get()).collect::<Vec<_>>();
    assert_eq!(listed(store.stock(None, 3).await.unwrap()), [1, 2, 3]);
    let some = [product(5), product(99), product(2), product(5)];
    assert_eq!(listed(store.stock(Some(&some), 1_000).await.unwrap()), [2, 5]);
    assert_eq!(listed(store.stock(Some(&[]), 1_000).await.unwrap()), [0_i64; 0]);
}

pub(crate) async fn goods_received_count_once(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = store.receive(&delivery("k", LAPTOP, 7)).await.unwrap().unwrap();
    assert_eq!(
        first,
        Stock {
            product: product(LAPTOP),
            on_hand: LAPTOPS + 7,
            held: 0
        }
    );
    store.receive(&delivery("another", LAPTOP, 1)).await.unwrap().unwrap();
    assert_eq!(
        store.receive(&delivery("k", LAPTOP, 7)).await.unwrap(),
        Ok(first),
        "the first answer"
    );
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.receive(&delivery("k", LAPTOP, 7)).await.unwrap(), Ok(first));
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS + 8, 0));
    assert_balanced(fixture).await;
}

pub(crate) async fn a_key_of_another_delivery_is_refused(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    store.receive(&delivery("k", LAPTOP, 7)).await.unwrap().unwrap();
    assert_eq!(store.receive(&delivery("k", LAPTOP, 8)).await.unwrap(), Err(KeyReused));
    assert_eq!(
        store.receive(&delivery("k", LAPTOP + 1, 7)).await.unwrap(),
        Err(KeyReused)
    );
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS + 7, 0));
    assert_balanced(fixture).await;
}

pub(crate) async fn the_first_delivery_of_a_product_creates_its_stock(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let stock = store.receive(&delivery("k", i64::MAX, 1_000_000)).await.unwrap();
    assert_eq!(
        stock,
        Ok(Stock {
            product: product(i64::MAX),
            on_hand: 1_000_000,
            held: 0
        })
    );
    assert_balanced(fixture).await;
}

pub(crate) async fn sixty_four_concurrent_repetitions_of_a_delivery_count_once(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let same = delivery("k", LAPTOP, 7);
    let answers = join_all((0..64).map(|_| store.receive(&same))).await;
    for answer in answers {
        assert_eq!(
            answer.unwrap(),
            Ok(Stock {
                product: product(LAPTOP),
                on_hand: LAPTOPS + 7,
                held: 0
            })
        );
    }
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS + 7, 0));
}
