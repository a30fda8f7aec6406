//! What every cache of carts does. Each adapter is one line.

use std::sync::Arc;

use cart::{
    domain::{Cart, UserId, Version},
    ports::{Cached, CartCache, Ticket},
};
use testing::RedisFixture;
use uuid::Uuid;

use crate::{
    places::{Caches, MemoryCaches},
    support::{SECOND, cart_of, eventually, large_cart, user},
};

testing::contract! { cache_contract:
    what_was_brought_is_there,
    only_a_newer_version_replaces_an_entry,
    an_invalidated_entry_is_gone_and_nothing_older_comes_back,
    a_late_invalidation_leaves_what_is_newer,
    nothing_older_comes_in_after_an_invalidation_of_nothing,
    a_gap_is_filled_once_by_whoever_saw_it,
    what_was_loaded_before_the_cache_was_emptied_is_not_kept,
    customers_do_not_meet,
    who_was_forgotten_may_come_back_as_somebody_new,
    of_64_racing_writers_no_older_one_stays,
    entries_expire,
}

cache_contract!(memory: MemoryCaches, redis: RedisFixture);

/// One that no cache has given out.
const STRANGE: Ticket = Ticket(Uuid::max());

async fn ticket(cache: &dyn CartCache) -> Ticket {
    match cache.get(&user()).await.unwrap() {
        Cached::Nothing(ticket) => ticket,
        Cached::Cart(cart) => panic!("{:?} is there", cart.version),
    }
}

async fn put(cache: &dyn CartCache, version: i64, ticket: Ticket) {
    cache.put(Arc::new(cart_of(&user(), version)), ticket).await.unwrap();
}

/// What a reader does who loads this version.
async fn bring(cache: &dyn CartCache, version: i64) {
    let ticket = match cache.get(&user()).await.unwrap() {
        Cached::Nothing(ticket) => ticket,
        Cached::Cart(_) => STRANGE,
    };
    put(cache, version, ticket).await;
}

async fn version(cache: &dyn CartCache) -> Option<i64> {
    match cache.get(&user()).await.unwrap() {
        Cached::Cart(cart) => Some(cart.version.0),
        Cached::Nothing(_) => None,
    }
}

async fn what_was_brought_is_there(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    assert_eq!(version(cache.as_ref()).await, None);
    for found in [Cart::never_filled(user()), cart_of(&user(), 3), large_cart(&user())] {
        let ticket = cache.invalidate(&user(), found.version).await.unwrap();
        for ticket in [ticket, ticket, STRANGE] {
            cache.put(Arc::new(found.clone()), ticket).await.unwrap();
        }
        assert_eq!(cache.get(&user()).await.unwrap(), Cached::Cart(Arc::new(found.clone())));
        let other = fixture.cache().await;
        assert_eq!(other.get(&user()).await.unwrap(), Cached::Cart(Arc::new(found)));
    }
}

async fn only_a_newer_version_replaces_an_entry(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    for (offered, kept) in [(0, 0), (2, 2), (1, 2), (0, 2), (3, 3), (2, 3)] {
        bring(cache.as_ref(), offered).await;
        assert_eq!(version(cache.as_ref()).await, Some(kept), "after version {offered}");
    }
}

async fn an_invalidated_entry_is_gone_and_nothing_older_comes_back(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    bring(cache.as_ref(), 4).await;
    cache.invalidate(&user(), Version(6)).await.unwrap();
    for (offered, kept) in [(4, None), (5, None), (0, None), (6, Some(6)), (5, Some(6))] {
        bring(cache.as_ref(), offered).await;
        assert_eq!(version(cache.as_ref()).await, kept, "after version {offered}");
    }
}

async fn a_late_invalidation_leaves_what_is_newer(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    bring(cache.as_ref(), 4).await;
    cache.invalidate(&user(), Version(4)).await.unwrap();
    assert_eq!(version(cache.as_ref()).await, Some(4));
    cache.invalidate(&user(), Version(9)).await.unwrap();
    cache.invalidate(&user(), Version(5)).await.unwrap();
    bring(cache.as_ref(), 8).await;
    assert_eq!(version(cache.as_ref()).await, None);
}

async fn nothing_older_comes_in_after_an_invalidation_of_nothing(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    cache.invalidate(&user(), Version(2)).await.unwrap();
    bring(cache.as_ref(), 1).await;
    assert_eq!(version(cache.as_ref()).await, None);
    bring(cache.as_ref(), 2).await;
    assert_eq!(version(cache.as_ref()).await, Some(2));
}

async fn a_gap_is_filled_once_by_whoever_saw_it(fixture: &dyn Caches) {
    let (cache, other) = (fixture.cache().await, fixture.cache().await);
    let seen = ticket(cache.as_ref()).await;
    assert_eq!(ticket(other.as_ref()).await, seen);
    // A writer comes, and another reader.
    assert_eq!(cache.invalidate(&user(), Version(4)).await.unwrap(), seen);
    assert_eq!(ticket(other.as_ref()).await, seen);
    put(other.as_ref(), 3, seen).await;
    assert_eq!(version(cache.as_ref()).await, None);
    put(cache.as_ref(), 4, seen).await;
    put(other.as_ref(), 3, seen).await;
    assert_eq!(version(cache.as_ref()).await, Some(4));
    // The next gap is another one.
    let next = cache.invalidate(&user(), Version(5)).await.unwrap();
    assert_ne!(next, seen);
    put(other.as_ref(), 5, seen).await;
    assert_eq!(version(cache.as_ref()).await, None);
    put(cache.as_ref(), 5, next).await;
    assert_eq!(version(cache.as_ref()).await, Some(5));
}

async fn what_was_loaded_before_the_cache_was_emptied_is_not_kept(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    // Two readers have loaded version 4, a writer writes version 5, and the cache forgets that it knew.
    let reader = ticket(cache.as_ref()).await;
    let writer = cache.invalidate(&user(), Version(5)).await.unwrap();
    put(cache.as_ref(), 5, writer).await;
    fixture.forget().await;
    put(cache.as_ref(), 4, reader).await;
    put(cache.as_ref(), 4, reader).await;
    assert_eq!(version(cache.as_ref()).await, None);
    bring(cache.as_ref(), 5).await;
    assert_eq!(version(cache.as_ref()).await, Some(5));

    // The writer of version 6 is late, and version 7 was written meanwhile.
    let late = cache.invalidate(&user(), Version(6)).await.unwrap();
    cache.invalidate(&user(), Version(7)).await.unwrap();
    fixture.forget().await;
    let reader = ticket(cache.as_ref()).await;
    put(cache.as_ref(), 6, late).await;
    put(cache.as_ref(), 5, reader).await;
    assert_eq!(version(cache.as_ref()).await, None);
    bring(cache.as_ref(), 7).await;
    assert_eq!(version(cache.as_ref()).await, Some(7));
}

async fn who_was_forgotten_may_come_back_as_somebody_new(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    bring(cache.as_ref(), 7).await;
    // A reader and a writer of before are under way while the cart is removed.
    let late = cache.invalidate(&user(), Version(8)).await.unwrap();
    cache.invalidate(&user(), Version(i64::MAX)).await.unwrap();
    cache.forget(&user()).await.unwrap();
    put(cache.as_ref(), 8, late).await;
    assert_eq!(
        version(cache.as_ref()).await,
        None,
        "what was written before does not come back"
    );
    cache.forget(&user()).await.unwrap();
    bring(cache.as_ref(), 1).await;
    assert_eq!(version(fixture.cache().await.as_ref()).await, Some(1));
}

async fn customers_do_not_meet(fixture: &dyn Caches) {
    let cache = fixture.cache().await;
    bring(cache.as_ref(), 1).await;
    for other in ["U", "u ", "u:u", "{u}", "ü", ""].map(|user| UserId::new(user).unwrap()) {
        assert!(matches!(cache.get(&other).await.unwrap(), Cached::Nothing(_)));
        cache.invalidate(&other, Version(9)).await.unwrap();
    }
    assert_eq!(version(cache.as_ref()).await, Some(1));
}

async fn of_64_racing_writers_no_older_one_stays(fixture: &dyn Caches) {
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..64 {
        let cache = fixture.cache().await;
        writers.spawn(async move {
            // Neither up nor down: each version once, in disorder.
            let version = (n * 37) % 64;
            let ticket = cache.invalidate(&user(), Version(version)).await.unwrap();
            put(cache.as_ref(), version, ticket).await;
            bring(cache.as_ref(), version).await;
        });
    }
    writers.join_all().await;
    let cache = fixture.cache().await;
    let found = version(cache.as_ref()).await;
    assert!(matches!(found, None | Some(63)), "{found:?}");
    bring(cache.as_ref(), 62).await;
    assert_eq!(version(cache.as_ref()).await, found);
    bring(cache.as_ref(), 63).await;
    assert_eq!(version(cache.as_ref()).await, Some(63));
}

async fn entries_expire(fixture: &dyn Caches) {
    let cache = fixture.living_for(2 * SECOND).await;
    bring(cache.as_ref(), 1).await;
    eventually("the entry goes", || async { version(cache.as_ref()).await.is_none() }).await;
    bring(cache.as_ref(), 0).await;
    assert_eq!(
        version(cache.as_ref()).await,
        Some(0),
        "what has expired counts no more"
    );
}
