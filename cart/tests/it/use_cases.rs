//! The use cases over fakes of the ports; races over a real store.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cart::{
    app::CartError,
    domain::{Added, Cart, CartRefusal, ChangeOptions, UserId, Version},
    ports::CartStore,
};
use storage::StoreError;
use testing::{Fixture, SqliteFixture};
use tokio::task::JoinSet;

use crate::{
    fixtures::sqlite_store,
    support::{
        BadCache, FakeStore, add, carts, expecting, memory_cache, pieces, product, quantities, try_add, user,
        with_fake_store,
    },
};

#[tokio::test]
async fn adding_says_whether_there_is_a_new_line() {
    let (_, carts) = with_fake_store();
    let (cart, added) = try_add(&carts, 1, 2).await.unwrap();
    assert_eq!((added, cart.version), (Added::NewLine, Version(1)));
    let (cart, added) = try_add(&carts, 1, 3).await.unwrap();
    assert_eq!((added, cart.version), (Added::ExistingLine, Version(2)));
    assert_eq!(quantities(&cart), [(1, 5)]);
}

#[tokio::test]
async fn a_change_that_changes_nothing_writes_nothing() {
    let (_, carts) = with_fake_store();
    for cart in [
        carts
            .remove_item(user(), product(1), ChangeOptions::default())
            .await
            .unwrap(),
        carts.clear_cart(user(), ChangeOptions::default()).await.unwrap(),
        carts.get_cart(&user()).await.unwrap(),
    ] {
        assert_eq!(*cart, Cart::new(user()));
    }
    add(&carts, 1, 2).await;
    carts
        .remove_item(user(), product(2), ChangeOptions::default())
        .await
        .unwrap();
    let cart = carts
        .update_quantity(user(), product(1), pieces(2), ChangeOptions::default())
        .await
        .unwrap();
    assert_eq!(cart.version, Version(1));
    assert_eq!(
        carts
            .clear_cart(user(), ChangeOptions::default())
            .await
            .unwrap()
            .version,
        Version(2)
    );
    assert_eq!(
        carts
            .clear_cart(user(), ChangeOptions::default())
            .await
            .unwrap()
            .version,
        Version(2)
    );
}

#[tokio::test]
async fn a_change_to_another_version_than_expected_is_refused_and_not_retried() {
    let (_, carts) = with_fake_store();
    let refused = |result: Result<Arc<Cart>, CartError>, version| {
        let current = Version(version);
        assert!(matches!(result, Err(CartError::Refused(CartRefusal::VersionMismatch { current: c })) if c == current));
    };
    refused(carts.clear_cart(user(), expecting(1)).await, 0);
    carts
        .add_item(user(), product(1), pieces(1), expecting(0))
        .await
        .unwrap();
    refused(
        carts
            .add_item(user(), product(1), pieces(1), expecting(0))
            .await
            .map(|(cart, _)| cart),
        1,
    );
    refused(
        carts.update_quantity(user(), product(1), pieces(5), expecting(2)).await,
        1,
    );
    refused(carts.remove_item(user(), product(1), expecting(2)).await, 1);
    refused(carts.clear_cart(user(), expecting(0)).await, 1);
    assert_eq!(
        carts.clear_cart(user(), expecting(1)).await.unwrap().version,
        Version(2)
    );
}

#[tokio::test]
async fn adding_a_missing_or_unavailable_product_changes_nothing() {
    let (store, carts) = with_fake_store();
    let missing = try_add(&carts, 2000, 1).await;
    assert!(matches!(missing, Err(CartError::ProductNotFound)));
    let unknown = try_add(&carts, 1000, 1).await;
    assert!(matches!(unknown, Err(CartError::CatalogueUnavailable(_))));
    assert_eq!(store.load(&user()).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_that_is_down_is_unavailable() {
    let (store, carts) = with_fake_store();
    store.down.store(true, Ordering::SeqCst);
    let read = carts.get_cart(&user()).await;
    assert!(matches!(read, Err(CartError::Store(StoreError::Unavailable(_)))));
    let write = carts.clear_cart(user(), ChangeOptions::default()).await;
    assert!(matches!(write, Err(CartError::Store(StoreError::Unavailable(_)))));
}

#[tokio::test]
async fn a_change_that_always_conflicts_fails_as_contended() {
    let (store, carts) = with_fake_store();
    store.always_conflicts.store(true, Ordering::SeqCst);
    let write = try_add(&carts, 1, 1).await;
    assert!(matches!(write, Err(CartError::Contended)));
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_seen_by_the_next_reader() {
    let (store, carts) = with_fake_store();
    add(&carts, 1, 1).await;
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(1));
    store.loses_answers.store(true, Ordering::SeqCst);
    try_add(&carts, 1, 1).await.unwrap_err();
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(2));
}

#[tokio::test]
async fn a_cancelled_change_leaves_no_older_copy() {
    let (store, carts) = with_fake_store();
    add(&carts, 1, 1).await;
    {
        let change = try_add(&carts, 1, 1);
        tokio::pin!(change);
        // Started, then dropped.
        assert!(futures::poll!(change.as_mut()).is_pending());
    }
    // The next change waits for the lock of the dropped one.
    let cart = carts
        .remove_item(user(), product(9), ChangeOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (cart.version, store.load(&user()).await.unwrap().unwrap().version),
        (Version(2), Version(2))
    );
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(2));
}

#[tokio::test]
async fn a_change_cancelled_before_it_has_the_lock_changes_nothing() {
    let (_, carts) = with_fake_store();
    let change = |n| try_add(&carts, 1, n);
    {
        let (first, second) = (change(1), change(10));
        tokio::pin!(first, second);
        // The first change has the lock, the second waits for it. Both are dropped.
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert!(futures::poll!(second.as_mut()).is_pending());
    }
    let (cart, _) = change(2).await.unwrap();
    assert_eq!((cart.version, quantities(&cart)), (Version(2), vec![(1, 3)]));
}

#[tokio::test]
async fn of_concurrent_cache_misses_one_loads() {
    let (store, carts) = with_fake_store();
    let user = user();
    let found = futures::future::join_all((0..64).map(|_| carts.get_cart(&user))).await;
    assert!(found.into_iter().all(|cart| *cart.unwrap() == Cart::new(user.clone())));
    assert_eq!(*store.loads.lock().unwrap(), 1);
}

#[tokio::test]
async fn an_empty_copy_does_not_hide_the_first_line() {
    let (_, carts) = with_fake_store();
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(0));
    add(&carts, 1, 1).await;
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(1));
}

#[tokio::test]
async fn a_cache_that_is_down_or_hangs_fails_no_request() {
    for cache in [BadCache::Down, BadCache::Hung] {
        let carts = carts(Arc::new(FakeStore::default()), Arc::new(cache));
        let begin = Instant::now();
        for n in 1..=50 {
            add(&carts, 1, 1).await;
            assert_eq!(quantities(&carts.get_cart(&user()).await.unwrap()), [(1, n)]);
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }
}

/// `instances` processes on one store; 64 callers, spread over them, add one piece each.
async fn race(instances: usize) {
    let files = SqliteFixture::new().unwrap();
    let store = sqlite_store(&files).await;
    let shops: Vec<_> = (0..instances).map(|_| carts(store.clone(), memory_cache())).collect();
    let mut callers = JoinSet::new();
    for n in 0..64 {
        let carts = shops[n % instances].clone();
        callers.spawn(async move { add(&carts, 1, 1).await.version });
    }
    let mut versions = callers.join_all().await;
    versions.sort_unstable();
    assert_eq!(
        versions,
        (1..=64).map(Version).collect::<Vec<_>>(),
        "each caller saw a version of its own"
    );
    let cart = store.load(&user()).await.unwrap().unwrap();
    assert_eq!(quantities(&cart), [(1, 64)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_racing_additions_all_count() {
    race(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_racing_additions_in_two_processes_all_count() {
    race(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundredth_piece_is_refused_however_many_race_for_it() {
    let files = SqliteFixture::new().unwrap();
    let carts = carts(sqlite_store(&files).await, memory_cache());
    let mut callers = JoinSet::new();
    for _ in 0..40 {
        let carts = carts.clone();
        callers.spawn(async move { try_add(&carts, 1, 5).await.is_ok() });
    }
    let added = callers.join_all().await.into_iter().filter(|added| *added).count();
    assert_eq!(added, 19);
    assert_eq!(quantities(&carts.get_cart(&user()).await.unwrap()), [(1, 95)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customers_read_their_own_writes() {
    let files = SqliteFixture::new().unwrap();
    let carts = carts(sqlite_store(&files).await, memory_cache());
    let mut customers = JoinSet::new();
    for n in 0..4 {
        let user = UserId::new(format!("user {n}")).unwrap();
        // Concurrent readers fill the cache.
        for _ in 0..2 {
            let (carts, user) = (carts.clone(), user.clone());
            customers.spawn(async move {
                let mut last = Version::ZERO;
                while last < Version(40) {
                    let seen = carts.get_cart(&user).await.unwrap().version;
                    assert!(seen >= last, "{seen:?} after {last:?}");
                    last = seen;
                    tokio::task::yield_now().await;
                }
            });
        }
        let carts = carts.clone();
        customers.spawn(async move {
            for n in 0..40 {
                let id = product(n % 5 + 1);
                let written = carts
                    .add_item(user.clone(), id, pieces(1), ChangeOptions::default())
                    .await
                    .unwrap()
                    .0;
                let read = carts.get_cart(&user).await.unwrap();
                assert_eq!(read, written);
            }
        });
    }
    customers.join_all().await;
}

#[tokio::test]
async fn an_erased_cart_is_gone_and_its_customer_starts_again() {
    let (store, carts) = with_fake_store();
    for n in 1..=3 {
        add(&carts, n, 1).await;
    }
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(3), "cached");
    assert!(carts.erase(user()).await.unwrap());
    assert_eq!(*carts.get_cart(&user()).await.unwrap(), Cart::new(user()));
    assert!(store.load(&user()).await.unwrap().is_none());
    assert!(!carts.erase(user()).await.unwrap(), "the cart is gone");
    add(&carts, 4, 1).await;
    let anew = carts.get_cart(&user()).await.unwrap();
    assert_eq!((anew.version, quantities(&anew)), (Version(1), vec![(4, 1)]));
}

#[tokio::test]
async fn an_erasure_fails_while_the_cache_is_unreachable() {
    let store = Arc::new(FakeStore::default());
    let without_cache = carts(store.clone(), Arc::new(BadCache::Down));
    add(&without_cache, 1, 1).await;
    let erased = without_cache.erase(user()).await;
    assert!(
        matches!(erased, Err(CartError::Store(StoreError::Unavailable(_)))),
        "{erased:?}"
    );
    // The retry succeeds once the cache is back.
    assert!(!carts(store, memory_cache()).erase(user()).await.unwrap());
}
