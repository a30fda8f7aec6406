//! What every cache of carts does. Each adapter is one line at the end.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cart::{
    cache::MemoryCache,
    domain::{UserId, Version},
    ports::CartCache,
};

use crate::support::{MINUTE, cart_of, eventually, user};

#[async_trait]
trait Fixture {
    /// An empty cache whose entries live for this long.
    async fn open(ttl: Duration) -> Arc<dyn CartCache>;
}

async fn put(cache: &dyn CartCache, version: i64) {
    cache.put(Arc::new(cart_of(&user(), version))).await.unwrap();
}

async fn version(cache: &dyn CartCache) -> Option<i64> {
    cache.get(&user()).await.unwrap().map(|cart| cart.version.0)
}

async fn what_was_put_is_there(cache: Arc<dyn CartCache>) {
    assert_eq!(version(cache.as_ref()).await, None);
    put(cache.as_ref(), 3).await;
    put(cache.as_ref(), 3).await;
    assert_eq!(cache.get(&user()).await.unwrap().as_deref(), Some(&cart_of(&user(), 3)));
}

async fn only_a_newer_version_replaces_an_entry(cache: Arc<dyn CartCache>) {
    for (offered, kept) in [(0, 0), (2, 2), (1, 2), (0, 2), (3, 3), (2, 3)] {
        put(cache.as_ref(), offered).await;
        assert_eq!(version(cache.as_ref()).await, Some(kept), "after version {offered}");
    }
}

async fn an_invalidated_entry_is_gone_and_nothing_older_comes_back(cache: Arc<dyn CartCache>) {
    put(cache.as_ref(), 4).await;
    cache.invalidate(&user(), Version(6)).await.unwrap();
    for (offered, kept) in [(4, None), (5, None), (0, None), (6, Some(6)), (5, Some(6))] {
        put(cache.as_ref(), offered).await;
        assert_eq!(version(cache.as_ref()).await, kept, "after version {offered}");
    }
}

async fn a_late_invalidation_leaves_what_is_newer(cache: Arc<dyn CartCache>) {
    put(cache.as_ref(), 4).await;
    cache.invalidate(&user(), Version(4)).await.unwrap();
    assert_eq!(version(cache.as_ref()).await, Some(4));
    cache.invalidate(&user(), Version(9)).await.unwrap();
    cache.invalidate(&user(), Version(5)).await.unwrap();
    put(cache.as_ref(), 8).await;
    assert_eq!(version(cache.as_ref()).await, None);
}

async fn nothing_older_comes_in_after_an_invalidation_of_nothing(cache: Arc<dyn CartCache>) {
    cache.invalidate(&user(), Version(2)).await.unwrap();
    put(cache.as_ref(), 1).await;
    assert_eq!(version(cache.as_ref()).await, None);
    put(cache.as_ref(), 2).await;
    assert_eq!(version(cache.as_ref()).await, Some(2));
}

async fn customers_do_not_meet(cache: Arc<dyn CartCache>) {
    put(cache.as_ref(), 1).await;
    let other = UserId::new("U");
    assert_eq!(cache.get(&other).await.unwrap(), None);
    cache.invalidate(&other, Version(9)).await.unwrap();
    assert_eq!(version(cache.as_ref()).await, Some(1));
}

async fn of_64_racing_writers_the_newest_wins(cache: Arc<dyn CartCache>) {
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..64 {
        let cache = cache.clone();
        // Neither up nor down: each version once, in disorder.
        writers.spawn(async move { put(cache.as_ref(), (n * 37) % 64).await });
    }
    writers.join_all().await;
    assert_eq!(version(cache.as_ref()).await, Some(63));
}

async fn entries_expire(cache: Arc<dyn CartCache>) {
    put(cache.as_ref(), 1).await;
    eventually("the entry goes", || async { version(cache.as_ref()).await.is_none() }).await;
    put(cache.as_ref(), 0).await;
    assert_eq!(
        version(cache.as_ref()).await,
        Some(0),
        "what has expired counts no more"
    );
}

macro_rules! cache_contract {
    ($($adapter:ident: $fixture:ty),*) => { $(mod $adapter {
        use super::*;
        cache_contract!(@lasting $fixture: what_was_put_is_there only_a_newer_version_replaces_an_entry
            an_invalidated_entry_is_gone_and_nothing_older_comes_back a_late_invalidation_leaves_what_is_newer
            nothing_older_comes_in_after_an_invalidation_of_nothing customers_do_not_meet
            of_64_racing_writers_the_newest_wins);
        #[tokio::test]
        async fn entries_expire() {
            super::entries_expire(<$fixture>::open(Duration::from_millis(500)).await).await;
        }
    })* };
    (@lasting $fixture:ty: $($case:ident)*) => { $(
        #[tokio::test]
        async fn $case() {
            super::$case(<$fixture>::open(MINUTE).await).await;
        }
    )* };
}

struct MemoryFixture;

#[async_trait]
impl Fixture for MemoryFixture {
    async fn open(ttl: Duration) -> Arc<dyn CartCache> {
        Arc::new(MemoryCache::new(ttl, Duration::ZERO))
    }
}

cache_contract!(memory: MemoryFixture);
