//! The expiry of reservations.

use std::time::Duration;

use inventory::domain::{CheckoutId, Refusal};

use super::{
    HOUR, LAPTOP, LAPTOPS, MOUSE, StoreFixture, ZERO_TTL, assert_balanced, delivery, lines, new_checkout, out_of_stock,
    stock_of,
};

pub(crate) async fn an_expired_reservation_returns_its_stock(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (checkout, wanted) = (new_checkout(), lines(&[(LAPTOP, 4), (MOUSE, 1)]));
    let first = store.reserve(checkout, &wanted, ZERO_TTL).await.unwrap();
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, 4));
    assert_eq!(store.expire(100).await.unwrap(), 1);
    assert_eq!(store.expire(100).await.unwrap(), 0);
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, 0));
    assert_eq!(
        store.reserve(checkout, &wanted, HOUR).await.unwrap(),
        first,
        "the first answer"
    );
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, 0));
    assert_eq!(store.release(checkout).await.unwrap(), Ok(()));
    assert_eq!(store.confirm(checkout).await.unwrap(), Err(Refusal::Released));
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, 0));
    assert_balanced(fixture).await;
}

pub(crate) async fn a_reservation_that_has_not_expired_is_kept(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, LAPTOPS)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.expire(100).await.unwrap(), 0);
    let refused = store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 1)]), HOUR)
        .await
        .unwrap();
    assert_eq!(refused, Err(out_of_stock(&[(LAPTOP, 1, 0)])));
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, LAPTOPS));
}

pub(crate) async fn reservations_expire_in_bounded_batches(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    for _ in 0..7 {
        store
            .reserve(new_checkout(), &lines(&[(LAPTOP, 1)]), ZERO_TTL)
            .await
            .unwrap()
            .unwrap();
    }
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 1)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    for (expired, held) in [(3, 5), (3, 2), (1, 1), (0, 1)] {
        assert_eq!(store.expire(3).await.unwrap(), expired);
        assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, held));
        assert_balanced(fixture).await;
    }
}

pub(crate) async fn a_reserve_that_is_short_expires_due_reservations_first(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 60)]), ZERO_TTL)
        .await
        .unwrap()
        .unwrap();
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 30)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    let refused = store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 71)]), HOUR)
        .await
        .unwrap();
    assert_eq!(refused, Err(out_of_stock(&[(LAPTOP, 71, 70)])));
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 70)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, LAPTOPS));
    assert_balanced(fixture).await;
}

pub(crate) async fn an_expired_reservation_is_confirmed_while_there_is_stock(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let due = new_checkout();
    store
        .reserve(due, &lines(&[(LAPTOP, LAPTOPS)]), ZERO_TTL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store.confirm(due).await.unwrap(),
        Ok(()),
        "no other checkout can have the stock yet"
    );
    assert_eq!(stock_of(&*store, LAPTOP).await, (0, 0));

    let expired = new_checkout();
    store
        .reserve(expired, &lines(&[(MOUSE, 500)]), ZERO_TTL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.expire(100).await.unwrap(), 1);
    // Another reservation on the stock, which is due itself.
    store
        .reserve(new_checkout(), &lines(&[(MOUSE, 1)]), ZERO_TTL)
        .await
        .unwrap()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(store.confirm(expired).await.unwrap(), Ok(()));
        assert_eq!(stock_of(&*store, MOUSE).await, (0, 0));
    }
    assert_balanced(fixture).await;
}

pub(crate) async fn an_expired_reservation_is_lost_for_ever_once_its_stock_is_gone(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (lost, wanted) = (new_checkout(), lines(&[(MOUSE, 1), (LAPTOP, LAPTOPS)]));
    let first = store.reserve(lost, &wanted, ZERO_TTL).await.unwrap();
    let rival: CheckoutId = new_checkout();
    store
        .reserve(rival, &lines(&[(LAPTOP, 1)]), HOUR)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.confirm(lost).await.unwrap(), Err(Refusal::Expired));
    assert_eq!(stock_of(&*store, MOUSE).await, (500, 0), "all lines or none");
    store.release(rival).await.unwrap().unwrap();
    store.receive(&delivery("k", LAPTOP, 500)).await.unwrap().unwrap();
    assert_eq!(
        store.confirm(lost).await.unwrap(),
        Err(Refusal::Expired),
        "the first answer"
    );
    assert_eq!(store.reserve(lost, &wanted, HOUR).await.unwrap(), first);
    assert_eq!(store.release(lost).await.unwrap(), Ok(()));
    assert_eq!(store.confirm(lost).await.unwrap(), Err(Refusal::Released));
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS + 500, 0));
    assert_balanced(fixture).await;
}

pub(crate) async fn a_reservation_may_have_the_longest_duration(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    store
        .reserve(new_checkout(), &lines(&[(LAPTOP, 1)]), Duration::MAX)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.expire(100).await.unwrap(), 0);
}
