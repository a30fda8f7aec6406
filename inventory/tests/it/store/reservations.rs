//! Reservations without concurrency.

use inventory::domain::{Refusal, Stock};

use super::{
    HOUR, LAPTOP, LAPTOPS, MICE, MOUSE, StoreFixture, ZERO_TTL, assert_balanced, delivery, lines, new_checkout,
    out_of_stock, product, stock_of,
};

pub(crate) async fn reserved_stock_is_not_available(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 3), (MOUSE, 5)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, 3));
    assert_eq!(stock_of(&*store, MOUSE).await, (MICE, 5));
    let laptop = store.stock(Some(&[product(LAPTOP)]), 1).await.unwrap().remove(0);
    assert_eq!(
        laptop,
        Stock {
            product: product(LAPTOP),
            on_hand: LAPTOPS,
            held: 3
        }
    );
    assert_eq!(laptop.available(), LAPTOPS - 3);
    assert_balanced(fixture).await;
}

pub(crate) async fn all_lines_are_reserved_or_none(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let too_many = lines(&[(LAPTOP, 1), (MOUSE, MICE + 1), (3, 301), (4, 150)]);
    let answer = store.reserve(new_checkout(), &too_many, HOUR).await.unwrap();
    assert_eq!(answer, Err(out_of_stock(&[(MOUSE, MICE + 1, MICE), (3, 301, 300)])));
    for stock in store.stock(None, 100).await.unwrap() {
        assert_eq!(stock.held, 0, "{stock:?}");
    }
    assert_balanced(fixture).await;
}

pub(crate) async fn two_lines_of_one_product_count_together(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let answer = store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 60), (LAPTOP, 41)]), HOUR)
        .await
        .unwrap();
    assert_eq!(answer, Err(out_of_stock(&[(LAPTOP, 101, 100)])));
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 60), (LAPTOP, 40)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, LAPTOPS));
    assert_balanced(fixture).await;
}

pub(crate) async fn a_product_without_stock_is_a_shortage(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let answer = store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 1), (i64::MAX, 2)]), HOUR)
        .await
        .unwrap();
    assert_eq!(answer, Err(out_of_stock(&[(i64::MAX, 2, 0)])));
    assert_balanced(fixture).await;
}

pub(crate) async fn a_refusal_is_repeated_even_when_stock_is_available_again(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (checkout, wanted) = (new_checkout(), lines(&[(LAPTOP, LAPTOPS + 1)]));
    let refusal = Err(out_of_stock(&[(LAPTOP, LAPTOPS + 1, LAPTOPS)]));
    assert_eq!(store.reserve(checkout, &wanted, HOUR).await.unwrap(), refusal);
    store.receive(&delivery("k", LAPTOP, 50)).await.unwrap().unwrap();
    assert_eq!(store.reserve(checkout, &wanted, HOUR).await.unwrap(), refusal);
    assert_eq!(store.confirm(checkout).await.unwrap(), Err(Refusal::NotFound));
    assert_eq!(store.release(checkout).await.unwrap(), Ok(()));
    assert_eq!(
        store.reserve(checkout, &wanted, HOUR).await.unwrap(),
        refusal,
        "the refusal is final"
    );
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS + 50, 0));
    store.reserve(new_checkout(), &wanted, HOUR).await.unwrap().unwrap();
    assert_balanced(fixture).await;
}

pub(crate) async fn a_duplicate_gets_the_same_answer_and_other_lines_do_not(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (checkout, wanted) = (new_checkout(), lines(&[(LAPTOP, 2), (MOUSE, 1)]));
    let first = store.reserve(checkout, &wanted, HOUR).await.unwrap();
    assert!(first.is_ok());
    let in_another_order = lines(&[(MOUSE, 1), (LAPTOP, 1), (LAPTOP, 1)]);
    assert_eq!(
        store.reserve(checkout, &in_another_order, HOUR * 2).await.unwrap(),
        first
    );
    for other in [
        lines(&[(LAPTOP, 2)]),
        lines(&[(LAPTOP, 2), (MOUSE, 2)]),
        lines(&[(LAPTOP, 2), (3, 1)]),
    ] {
        assert_eq!(
            store.reserve(checkout, &other, HOUR).await.unwrap(),
            Err(Refusal::Mismatch)
        );
    }
    store.confirm(checkout).await.unwrap().unwrap();
    assert_eq!(store.reserve(checkout, &wanted, HOUR).await.unwrap(), first);
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS - 2, 0));
    assert_balanced(fixture).await;
}

pub(crate) async fn a_release_before_its_reserve_refuses_the_late_reserve(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let checkout = new_checkout();
    assert_eq!(store.release(checkout).await.unwrap(), Ok(()));
    assert_eq!(
        store.reserve(checkout, &lines(&[(LAPTOP, 1)]), HOUR).await.unwrap(),
        Err(Refusal::Released)
    );
    assert_eq!(store.confirm(checkout).await.unwrap(), Err(Refusal::Released));
    assert_eq!(store.release(checkout).await.unwrap(), Ok(()));
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, 0));
    assert_balanced(fixture).await;
}

pub(crate) async fn confirmed_stock_never_returns(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    for ttl in [HOUR, ZERO_TTL] {
        let checkout = new_checkout();
        store
            .reserve(checkout, &lines(&[(LAPTOP, 10)]), ttl)
            .await
            .unwrap()
            .unwrap();
        store.confirm(checkout).await.unwrap().unwrap();
        let sold = stock_of(&*store, LAPTOP).await;
        assert_eq!(store.expire(100).await.unwrap(), 0);
        assert_eq!(store.release(checkout).await.unwrap(), Err(Refusal::Confirmed));
        assert_eq!(store.confirm(checkout).await.unwrap(), Ok(()));
        assert_eq!(stock_of(&*store, LAPTOP).await, sold);
    }
    drop(store);
    assert_eq!(stock_of(&*fixture.open().await, LAPTOP).await, (LAPTOPS - 20, 0));
    assert_balanced(fixture).await;
}

pub(crate) async fn an_unknown_reservation_cannot_be_confirmed(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let checkout = new_checkout();
    assert_eq!(store.confirm(checkout).await.unwrap(), Err(Refusal::NotFound));
    // The refused Confirm leaves no tombstone, so Reserve may still come.
    store
        .reserve(checkout, &lines(&[(LAPTOP, 1)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.confirm(checkout).await.unwrap(), Ok(()));
}

pub(crate) async fn stock_and_reservations_survive_a_reopen(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (held, confirmed, refused, released) = (new_checkout(), new_checkout(), new_checkout(), new_checkout());
    let (some, too_many) = (lines(&[(LAPTOP, 5)]), lines(&[(LAPTOP, LAPTOPS)]));
    let first = store.reserve(held, &some, HOUR).await.unwrap();
    store.reserve(confirmed, &some, HOUR).await.unwrap().unwrap();
    store.confirm(confirmed).await.unwrap().unwrap();
    let refusal = store.reserve(refused, &too_many, HOUR).await.unwrap();
    store.release(released).await.unwrap().unwrap();
    drop(store);

    let store = fixture.open().await;
    assert_eq!(
        stock_of(&*store, LAPTOP).await,
        (LAPTOPS - 5, 5),
        "the initial stock was not added again"
    );
    assert_eq!(store.reserve(held, &some, HOUR).await.unwrap(), first);
    assert_eq!(store.confirm(confirmed).await.unwrap(), Ok(()));
    assert_eq!(store.reserve(refused, &too_many, HOUR).await.unwrap(), refusal);
    assert_eq!(
        store.reserve(released, &some, HOUR).await.unwrap(),
        Err(Refusal::Released)
    );
    assert_eq!(store.confirm(held).await.unwrap(), Ok(()));
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS - 10, 0));
    assert_balanced(fixture).await;
}
