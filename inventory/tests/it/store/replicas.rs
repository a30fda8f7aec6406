//! Concurrent writers through two stores on one database.

use std::{collections::BTreeSet, sync::Arc};

use futures::{
    StreamExt,
    future::{join, join_all},
    stream,
};
use inventory::{
    domain::{KeyReused, Lines, Refusal},
    ports::StockStore,
};

use super::{
    HOUR, LAPTOP, LAPTOPS, MICE, MOUSE, StoreFixture, ZERO_TTL, assert_balanced, delivery, lines, new_checkout,
    stock_of,
};

const WRITERS: usize = 64;

async fn two(fixture: &dyn StoreFixture) -> [Arc<dyn StockStore>; 2] {
    [fixture.open().await, fixture.open().await]
}

pub(crate) async fn two_replicas_sell_no_piece_twice(fixture: &dyn StoreFixture) {
    let stores = two(fixture).await;
    let one = &lines(&[(LAPTOP, 1)]);
    let buy = async |n: usize| {
        let (checkout, [store, other]) = (new_checkout(), [&stores[n % 2], &stores[(n + 1) % 2]]);
        let reserved = store.reserve(checkout, one, HOUR).await.unwrap();
        if reserved.is_ok() {
            other.confirm(checkout).await.unwrap().unwrap();
        }
        reserved.is_ok()
    };
    let buyers = stream::iter((0..150).map(buy)).buffer_unordered(WRITERS);
    let bought = buyers.filter(|bought| std::future::ready(*bought)).count().await;
    assert_eq!(i64::try_from(bought).unwrap(), LAPTOPS);
    for store in &stores {
        assert_eq!(stock_of(&**store, LAPTOP).await, (0, 0));
    }
    assert_balanced(fixture).await;
}

/// Some of the five products, in random order.
fn random_cart() -> Lines {
    let mut products: Vec<_> = (1..=5).collect();
    fastrand::shuffle(&mut products);
    let some = fastrand::usize(2..=5);
    lines(&products[..some].iter().map(|id| (*id, 1)).collect::<Vec<_>>())
}

pub(crate) async fn overlapping_carts_never_deadlock(fixture: &dyn StoreFixture) {
    let stores = two(fixture).await;
    let buy = async |n: usize| {
        let (checkout, store) = (new_checkout(), &stores[n % 2]);
        let ttl = if n.is_multiple_of(3) { ZERO_TTL } else { HOUR };
        if store.reserve(checkout, &random_cart(), ttl).await.unwrap().is_err() {
            return;
        }
        // All ways to end a reservation.
        match n % 5 {
            0 => drop(store.release(checkout).await.unwrap()),
            1 => drop(store.expire(10).await.unwrap()),
            2 => drop(join_all(stores.iter().map(|store| store.confirm(checkout))).await),
            _ => drop(store.confirm(checkout).await.unwrap()),
        }
    };
    stream::iter((0..400).map(buy))
        .buffer_unordered(WRITERS)
        .collect::<()>()
        .await;
    assert_balanced(fixture).await;
}

pub(crate) async fn two_replicas_expire_a_reservation_once(fixture: &dyn StoreFixture) {
    const RESERVATIONS: u32 = 60;
    let stores = two(fixture).await;
    for _ in 0..RESERVATIONS {
        let both = lines(&[(LAPTOP, 1), (MOUSE, 2)]);
        stores[0]
            .reserve(new_checkout(), &both, ZERO_TTL)
            .await
            .unwrap()
            .unwrap();
    }
    let expire = async |n: usize| {
        let mut expired = 0;
        // Each task counts only the reservations that it expired itself.
        for _ in 0..RESERVATIONS {
            expired += stores[n % 2].expire(7).await.unwrap();
        }
        expired
    };
    let expired: u32 = join_all((0..4).map(expire)).await.into_iter().sum();
    assert_eq!(expired, RESERVATIONS);
    assert_eq!(stock_of(&*stores[0], LAPTOP).await, (LAPTOPS, 0));
    assert_eq!(stock_of(&*stores[1], MOUSE).await, (MICE, 0));
    assert_balanced(fixture).await;
}

/// A Confirm of an expired reservation while another checkout releases the piece: sold or expired, but never an error.
pub(crate) async fn a_confirm_that_races_with_a_release_gets_the_stock_or_expires(fixture: &dyn StoreFixture) {
    let stores = &two(fixture).await;
    let race = async |id: i64| {
        let one = &lines(&[(id, 1)]);
        stores[0]
            .receive(&delivery(&id.to_string(), id, 1))
            .await
            .unwrap()
            .unwrap();
        let [old, rival] = [new_checkout(), new_checkout()];
        stores[0].reserve(old, one, ZERO_TTL).await.unwrap().unwrap();
        // Takes the piece of the due reservation.
        stores[1].reserve(rival, one, HOUR).await.unwrap().unwrap();
        let (confirmed, released) = join(stores[0].confirm(old), stores[1].release(rival)).await;
        assert_eq!(released.unwrap(), Ok(()));
        let left = match confirmed.unwrap() {
            Ok(()) => 0,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Expired);
                1
            }
        };
        assert_eq!(stock_of(&*stores[1], id).await, (left, 0));
    };
    stream::iter(1_000..1_400).for_each_concurrent(WRITERS / 4, race).await;
    assert_balanced(fixture).await;
}

pub(crate) async fn a_reserve_that_races_with_its_release_takes_nothing(fixture: &dyn StoreFixture) {
    let stores = two(fixture).await;
    let (three, mut late) = (&lines(&[(LAPTOP, 3)]), 0);
    for _ in 0..WRITERS {
        let checkout = new_checkout();
        let reserve = async { stores[0].reserve(checkout, three, HOUR).await.unwrap() };
        let release = async { stores[1].release(checkout).await.unwrap() };
        let (reserved, released) = join(reserve, release).await;
        assert_eq!(released, Ok(()));
        if let Err(refusal) = reserved {
            assert_eq!(refusal, Refusal::Released);
            late += 1;
        }
        assert_eq!(stores[1].confirm(checkout).await.unwrap(), Err(Refusal::Released));
        assert_eq!(
            stock_of(&*stores[0], LAPTOP).await,
            (LAPTOPS, 0),
            "after {late} late ones"
        );
    }
    assert_balanced(fixture).await;
}

pub(crate) async fn of_racing_reserves_with_different_lines_one_counts(fixture: &dyn StoreFixture) {
    let stores = two(fixture).await;
    let checkout = new_checkout();
    let wanted = [lines(&[(LAPTOP, 1), (MOUSE, 1)]), lines(&[(MOUSE, 2)])];
    let answers = join_all((0..WRITERS).map(async |n| {
        let answer = stores[n / 2 % 2].reserve(checkout, &wanted[n % 2], HOUR).await;
        (n % 2, answer.unwrap())
    }))
    .await;
    let held = answers
        .iter()
        .filter_map(|(set, answer)| Some((*set, answer.as_ref().ok()?)));
    let winners: BTreeSet<_> = held.collect();
    assert_eq!(winners.len(), 1, "one set of lines, with one answer: {answers:?}");
    let winner = winners.first().unwrap().0;
    for (set, answer) in &answers {
        assert!(*set == winner || *answer == Err(Refusal::Mismatch), "{answers:?}");
    }
    let (laptops, mice) = if winner == 0 { (1, 1) } else { (0, 2) };
    assert_eq!(stock_of(&*stores[0], LAPTOP).await, (LAPTOPS, laptops));
    assert_eq!(stock_of(&*stores[0], MOUSE).await, (MICE, mice));
    assert_balanced(fixture).await;
}

pub(crate) async fn of_racing_deliveries_with_one_key_one_counts(fixture: &dyn StoreFixture) {
    let stores = two(fixture).await;
    let pieces = |n: usize| i64::try_from(n % 2).unwrap() + 1;
    let answers = join_all((0..WRITERS).map(async |n| {
        let answer = stores[n / 2 % 2].receive(&delivery("k", LAPTOP, pieces(n))).await;
        (pieces(n), answer.unwrap())
    }))
    .await;
    let on_hand = stock_of(&*stores[0], LAPTOP).await.0;
    assert!([LAPTOPS + 1, LAPTOPS + 2].contains(&on_hand), "{on_hand}");
    for (pieces, answer) in answers {
        if LAPTOPS + pieces == on_hand {
            assert_eq!(answer.unwrap().on_hand, on_hand);
        } else {
            assert_eq!(answer, Err(KeyReused));
        }
    }
    assert_balanced(fixture).await;
}

pub(crate) async fn racing_first_deliveries_of_a_product_all_count(fixture: &dyn StoreFixture) {
    let stores = two(fixture).await;
    let answers = join_all((0..WRITERS).map(async |n| {
        let answer = stores[n % 2].receive(&delivery(&n.to_string(), 77, 2)).await;
        answer.unwrap().unwrap().on_hand
    }))
    .await;
    let distinct: BTreeSet<_> = answers.into_iter().collect();
    assert_eq!(distinct, (1..=64).map(|n| n * 2).collect());
    assert_eq!(stock_of(&*stores[1], 77).await, (128, 0));
    assert_balanced(fixture).await;
}
