//! The contract of the cart cache.

use std::sync::Arc;

use cart::{
    domain::{Cart, UserId, Version},
    ports::{Cached, CartCache, FillToken},
};
use testing::RedisFixture;
use uuid::Uuid;

use crate::{
    fixtures::{CacheFixture, MemoryCacheFixture},
    support::{SECOND, cart_of, eventually, large_cart, user},
};

testing::contract! { cache_contract:
    a_cached_cart_is_returned,
    only_a_newer_version_replaces_an_entry,
    an_invalidated_entry_is_gone_and_older_carts_are_refused,
    a_late_invalidation_keeps_a_newer_cart,
    after_the_invalidation_of_a_missing_entry_older_carts_are_refused,
    a_token_fills_its_tombstone_once,
    a_cart_loaded_before_a_flush_is_refused,
    customers_do_not_meet,
    a_forgotten_customer_starts_again_with_version_1,
    of_64_racing_writers_no_older_cart_stays,
    entries_expire,
}

cache_contract!(memory: MemoryCacheFixture, redis: RedisFixture);

/// A token that no cache has issued.
const UNKNOWN_TOKEN: FillToken = FillToken(Uuid::max());

async fn token(cache: &dyn CartCache) -> FillToken {
    match cache.get(&user()).await.unwrap() {
        Cached::Missing(token) => token,
        Cached::Cart(cart) => panic!("{:?} is there", cart.version),
    }
}

async fn put(cache: &dyn CartCache, version: i64, token: FillToken) {
    cache.put(Arc::new(cart_of(&user(), version)), token).await.unwrap();
}

/// Caches this version, as a reader does after a load.
async fn fill(cache: &dyn CartCache, version: i64) {
    let token = match cache.get(&user()).await.unwrap() {
        Cached::Missing(token) => token,
        Cached::Cart(_) => UNKNOWN_TOKEN,
    };
    put(cache, version, token).await;
}

async fn version(cache: &dyn CartCache) -> Option<i64> {
    match cache.get(&user()).await.unwrap() {
        Cached::Cart(cart) => Some(cart.version.0),
        Cached::Missing(_) => None,
    }
}

async fn a_cached_cart_is_returned(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    assert_eq!(version(cache.as_ref()).await, None);
    for found in [Cart::new(user()), cart_of(&user(), 3), large_cart(&user())] {
        let token = cache.invalidate(&user(), found.version).await.unwrap();
        for token in [token, token, UNKNOWN_TOKEN] {
            cache.put(Arc::new(found.clone()), token).await.unwrap();
        }
        assert_eq!(cache.get(&user()).await.unwrap(), Cached::Cart(Arc::new(found.clone())));
        let other = fixture.cache().await;
        assert_eq!(other.get(&user()).await.unwrap(), Cached::Cart(Arc::new(found)));
    }
}

async fn only_a_newer_version_replaces_an_entry(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    for (offered, kept) in [(0, 0), (2, 2), (1, 2), (0, 2), (3, 3), (2, 3)] {
        fill(cache.as_ref(), offered).await;
        assert_eq!(version(cache.as_ref()).await, Some(kept), "after version {offered}");
    }
}

async fn an_invalidated_entry_is_gone_and_older_carts_are_refused(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    fill(cache.as_ref(), 4).await;
    cache.invalidate(&user(), Version(6)).await.unwrap();
    for (offered, kept) in [(4, None), (5, None), (0, None), (6, Some(6)), (5, Some(6))] {
        fill(cache.as_ref(), offered).await;
        assert_eq!(version(cache.as_ref()).await, kept, "after version {offered}");
    }
}

async fn a_late_invalidation_keeps_a_newer_cart(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    fill(cache.as_ref(), 4).await;
    cache.invalidate(&user(), Version(4)).await.unwrap();
    assert_eq!(version(cache.as_ref()).await, Some(4));
    cache.invalidate(&user(), Version(9)).await.unwrap();
    cache.invalidate(&user(), Version(5)).await.unwrap();
    fill(cache.as_ref(), 8).await;
    assert_eq!(version(cache.as_ref()).await, None);
}

async fn after_the_invalidation_of_a_missing_entry_older_carts_are_refused(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    cache.invalidate(&user(), Version(2)).await.unwrap();
    fill(cache.as_ref(), 1).await;
    assert_eq!(version(cache.as_ref()).await, None);
    fill(cache.as_ref(), 2).await;
    assert_eq!(version(cache.as_ref()).await, Some(2));
}

async fn a_token_fills_its_tombstone_once(fixture: &dyn CacheFixture) {
    let (cache, other) = (fixture.cache().await, fixture.cache().await);
    let seen = token(cache.as_ref()).await;
    assert_eq!(token(other.as_ref()).await, seen);
    // Then a writer and another reader.
    assert_eq!(cache.invalidate(&user(), Version(4)).await.unwrap(), seen);
    assert_eq!(token(other.as_ref()).await, seen);
    put(other.as_ref(), 3, seen).await;
    assert_eq!(version(cache.as_ref()).await, None);
    put(cache.as_ref(), 4, seen).await;
    put(other.as_ref(), 3, seen).await;
    assert_eq!(version(cache.as_ref()).await, Some(4));
    // The next tombstone has another token.
    let next = cache.invalidate(&user(), Version(5)).await.unwrap();
    assert_ne!(next, seen);
    put(other.as_ref(), 5, seen).await;
    assert_eq!(version(cache.as_ref()).await, None);
    put(cache.as_ref(), 5, next).await;
    assert_eq!(version(cache.as_ref()).await, Some(5));
}

async fn a_cart_loaded_before_a_flush_is_refused(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    // Two readers have loaded version 4, a writer writes version 5, then the cache is flushed.
    let reader = token(cache.as_ref()).await;
    let writer = cache.invalidate(&user(), Version(5)).await.unwrap();
    put(cache.as_ref(), 5, writer).await;
    fixture.flush().await;
    put(cache.as_ref(), 4, reader).await;
    put(cache.as_ref(), 4, reader).await;
    assert_eq!(version(cache.as_ref()).await, None);
    fill(cache.as_ref(), 5).await;
    assert_eq!(version(cache.as_ref()).await, Some(5));

    // The writer of version 6 is late; version 7 was written meanwhile.
    let late = cache.invalidate(&user(), Version(6)).await.unwrap();
    cache.invalidate(&user(), Version(7)).await.unwrap();
    fixture.flush().await;
    let reader = token(cache.as_ref()).await;
    put(cache.as_ref(), 6, late).await;
    put(cache.as_ref(), 5, reader).await;
    assert_eq!(version(cache.as_ref()).await, None);
    fill(cache.as_ref(), 7).await;
    assert_eq!(version(cache.as_ref()).await, Some(7));
}

async fn a_forgotten_customer_starts_again_with_version_1(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    fill(cache.as_ref(), 7).await;
    // An earlier writer is still in flight while the cart is erased.
    let late = cache.invalidate(&user(), Version(8)).await.unwrap();
    cache.invalidate(&user(), Version(i64::MAX)).await.unwrap();
    cache.forget(&user()).await.unwrap();
    put(cache.as_ref(), 8, late).await;
    assert_eq!(version(cache.as_ref()).await, None, "an earlier token is refused");
    cache.forget(&user()).await.unwrap();
    fill(cache.as_ref(), 1).await;
    assert_eq!(version(fixture.cache().await.as_ref()).await, Some(1));
}

async fn customers_do_not_meet(fixture: &dyn CacheFixture) {
    let cache = fixture.cache().await;
    fill(cache.as_ref(), 1).await;
    for other in ["U", "u ", "u:u", "{u}", "ü", ""].map(|user| UserId::stored(user.to_owned())) {
        assert!(matches!(cache.get(&other).await.unwrap(), Cached::Missing(_)));
        cache.invalidate(&other, Version(9)).await.unwrap();
    }
    assert_eq!(version(cache.as_ref()).await, Some(1));
}

async fn of_64_racing_writers_no_older_cart_stays(fixture: &dyn CacheFixture) {
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..64 {
        let cache = fixture.cache().await;
        writers.spawn(async move {
            // A permutation of the versions.
            let version = (n * 37) % 64;
            let token = cache.invalidate(&user(), Version(version)).await.unwrap();
            put(cache.as_ref(), version, token).await;
            fill(cache.as_ref(), version).await;
        });
    }
    writers.join_all().await;
    let cache = fixture.cache().await;
    let found = version(cache.as_ref()).await;
    assert!(matches!(found, None | Some(63)), "{found:?}");
    fill(cache.as_ref(), 62).await;
    assert_eq!(version(cache.as_ref()).await, found);
    fill(cache.as_ref(), 63).await;
    assert_eq!(version(cache.as_ref()).await, Some(63));
}

async fn entries_expire(fixture: &dyn CacheFixture) {
    let cache = fixture.cache_with_ttl(2 * SECOND).await;
    fill(cache.as_ref(), 1).await;
    eventually("the entry goes", || async { version(cache.as_ref()).await.is_none() }).await;
    fill(cache.as_ref(), 0).await;
    assert_eq!(
        version(cache.as_ref()).await,
        Some(0),
        "an expired entry refuses nothing"
    );
}
