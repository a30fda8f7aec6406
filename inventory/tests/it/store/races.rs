//! Concurrent reservations.

use std::collections::BTreeSet;

use futures::{StreamExt, future::join_all, stream};
use inventory::{
    domain::{CheckoutId, Lines, Refusal},
    ports::StockStore,
};

use super::{
    HOUR, LAPTOP, LAPTOPS, StoreFixture, ZERO_TTL, assert_balanced, delivery, lines, new_checkout, out_of_stock,
    stock_of,
};

/// More would time out waiting for a connection.
const CONCURRENT_BUYERS: usize = 128;

pub(crate) async fn five_hundred_reserves_of_a_hundred_pieces_give_a_hundred(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let one = lines(&[(LAPTOP, 1)]);
    let buyers = (0..500).map(|_| store.reserve(new_checkout(), &one, HOUR));
    let answers: Vec<_> = stream::iter(buyers).buffer_unordered(CONCURRENT_BUYERS).collect().await;
    let (held, refused): (Vec<_>, Vec<_>) = answers.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!((held.len(), refused.len()), (100, 400));
    assert!(
        refused
            .iter()
            .all(|answer| *answer == Err(out_of_stock(&[(LAPTOP, 1, 0)])))
    );
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, LAPTOPS));
    assert_balanced(fixture).await;
}

pub(crate) async fn sixty_four_concurrent_repetitions_of_a_reserve_take_the_stock_once(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (checkout, wanted) = (new_checkout(), lines(&[(LAPTOP, 3)]));
    let answers = join_all((0..64).map(|_| store.reserve(checkout, &wanted, HOUR))).await;
    let distinct: BTreeSet<_> = answers.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    assert_eq!(distinct.len(), 1);
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS, 3));
    assert_balanced(fixture).await;
}

pub(crate) async fn confirm_and_release_have_one_winner(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let mut sold = 0;
    for _ in 0..LAPTOPS / 2 {
        let checkout = new_checkout();
        store
            .reserve(checkout, &lines(&[(LAPTOP, 2)]), HOUR)
            .await
            .unwrap()
            .unwrap();
        let mut calls: Vec<_> = (0..4).collect();
        fastrand::shuffle(&mut calls);
        let mut answers = join_all(calls.into_iter().map(async |call| {
            let answer = if call % 2 == 0 {
                store.confirm(checkout).await
            } else {
                store.release(checkout).await
            };
            (call, answer.unwrap())
        }))
        .await;
        answers.sort_by_key(|(call, _)| *call);
        let answers: Vec<_> = answers.into_iter().map(|(_, answer)| answer).collect();
        if answers[0].is_ok() {
            sold += 2;
            assert_eq!(
                answers,
                [Ok(()), Err(Refusal::Confirmed), Ok(()), Err(Refusal::Confirmed)]
            );
        } else {
            assert_eq!(
                answers,
                [Err(Refusal::Released), Ok(()), Err(Refusal::Released), Ok(())]
            );
        }
    }
    assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS - sold, 0));
    assert_balanced(fixture).await;
}

#[derive(Debug, Clone, Copy)]
enum Racer {
    /// Confirms a due reservation.
    Confirm(CheckoutId),
    /// Reserves a piece.
    Reserve(CheckoutId),
    Expire,
}

/// Few enough that racers hardly queue for a connection.
const CONCURRENT_RACERS: usize = 16;

/// Runs the racers in random order. Returns the answers to Confirm, and the number of successful Reserves.
async fn race(store: &dyn StockStore, racers: &mut [Racer]) -> (Vec<(CheckoutId, bool)>, usize) {
    let one = &lines(&[(LAPTOP, 1)]);
    fastrand::shuffle(racers);
    let calls = racers.iter().map(async |racer| match *racer {
        Racer::Confirm(checkout) => match store.confirm(checkout).await.unwrap() {
            Ok(()) => true,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Expired);
                false
            }
        },
        Racer::Reserve(checkout) => store.reserve(checkout, one, HOUR).await.unwrap().is_ok(),
        Racer::Expire => store.expire(7).await.unwrap() > 7,
    });
    let answers: Vec<_> = stream::iter(calls).buffered(CONCURRENT_RACERS).collect().await;
    let answers = || racers.iter().zip(&answers);
    let confirmed = answers().filter_map(|(racer, won)| match racer {
        Racer::Confirm(checkout) => Some((*checkout, *won)),
        Racer::Reserve(_) | Racer::Expire => None,
    });
    let held = answers()
        .filter(|(racer, won)| matches!(racer, Racer::Reserve(_)) && **won)
        .count();
    (confirmed.collect(), held)
}

/// A hundred due reservations on the whole stock, and a hundred new checkouts that reserve it:
/// each piece is sold or reserved once.
pub(crate) async fn confirm_and_expiry_have_one_winner(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let one = lines(&[(LAPTOP, 1)]);
    for round in 0..5 {
        let missing = LAPTOPS - stock_of(&*store, LAPTOP).await.0;
        if missing > 0 {
            store
                .receive(&delivery(&format!("round {round}"), LAPTOP, missing))
                .await
                .unwrap()
                .unwrap();
        }
        let mut racers: Vec<_> = (0..10).map(|_| Racer::Expire).collect();
        let new: Vec<_> = (0..LAPTOPS).map(|_| new_checkout()).collect();
        for checkout in &new {
            let old = new_checkout();
            store.reserve(old, &one, ZERO_TTL).await.unwrap().unwrap();
            racers.extend([Racer::Confirm(old), Racer::Reserve(*checkout)]);
        }
        let (old, held) = race(&*store, &mut racers).await;
        let sold = old.iter().filter(|(_, won)| *won).count();
        assert_eq!(sold + held, 100, "each piece went to one checkout");
        assert!(sold > 0 && held > 0, "{sold} sold, {held} held");
        let (sold, held) = (i64::try_from(sold).unwrap(), i64::try_from(held).unwrap());
        assert_eq!(stock_of(&*store, LAPTOP).await, (LAPTOPS - sold, held));
        assert_balanced(fixture).await;

        for checkout in new {
            store.release(checkout).await.unwrap().unwrap();
        }
        for (checkout, won) in old {
            let again = store.confirm(checkout).await.unwrap();
            assert_eq!(
                again.is_ok(),
                won,
                "the answer is final, although stock is available again"
            );
        }
    }
    assert_balanced(fixture).await;
}

const RANDOM_CHECKOUTS: usize = 60;
const RANDOM_CALLS: usize = 2_000;
const RANDOM_WRITERS: usize = 64;

/// The lines of the `n`th checkout.
fn random_lines(n: usize) -> Lines {
    let n = i64::try_from(n).unwrap();
    lines(&[(1 + n % 5, 1 + n % 37), (1 + n % 3, 1 + n % 11)])
}

/// Makes one random call. True if the checkout is confirmed.
async fn random_call(store: &dyn StockStore, n: usize, checkout: CheckoutId) -> bool {
    match fastrand::u8(0..6) {
        0 | 1 => {
            let ttl = if fastrand::bool() { HOUR } else { ZERO_TTL };
            let answer = store.reserve(checkout, &random_lines(n), ttl).await.unwrap();
            assert!(
                matches!(answer, Ok(_) | Err(Refusal::OutOfStock(_) | Refusal::Released)),
                "{answer:?}"
            );
        }
        2 | 3 => return store.confirm(checkout).await.unwrap().is_ok(),
        4 if fastrand::u8(0..4) == 0 => {
            let _ = store.release(checkout).await.unwrap();
        }
        _ => {
            store.expire(3).await.unwrap();
        }
    }
    false
}

pub(crate) async fn the_ledger_adds_up_after_random_concurrent_calls(fixture: &dyn StoreFixture) {
    let stores = [fixture.open().await, fixture.open().await];
    let store = &*stores[0];
    let before = store.stock(None, 100).await.unwrap();
    let checkouts: Vec<_> = (0..RANDOM_CHECKOUTS).map(|_| new_checkout()).collect();
    let calls = (0..RANDOM_CALLS).map(async |call| {
        let n = fastrand::usize(0..RANDOM_CHECKOUTS);
        random_call(&*stores[call % 2], n, checkouts[n]).await.then_some(n)
    });
    let confirmed: Vec<_> = stream::iter(calls).buffer_unordered(RANDOM_WRITERS).collect().await;
    assert_balanced(fixture).await;
    let confirmed: BTreeSet<_> = confirmed.into_iter().flatten().collect();
    assert!(!confirmed.is_empty());
    for stock in before {
        let of_product = |n: &usize| random_lines(*n).iter().find(|(product, _)| *product == stock.product);
        let sold: i64 = confirmed
            .iter()
            .filter_map(of_product)
            .map(|(_, quantity)| quantity.get())
            .sum();
        assert_eq!(
            stock_of(store, stock.product.get()).await.0,
            stock.on_hand - sold,
            "{:?}",
            stock.product
        );
    }
}
