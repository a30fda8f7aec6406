use std::{
    collections::HashSet,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::domain::CartId;

/// A token that no cache has issued.
const UNKNOWN_TOKEN: FillToken = FillToken(Uuid::max());

const UP: u8 = 0;
const DOWN: u8 = 1;
const HUNG: u8 = 2;

/// A cache whose health a test sets.
struct FaultyCache {
    memory: MemoryCache,
    health: AtomicU8,
    calls: AtomicUsize,
}

impl FaultyCache {
    async fn check_health(&self) -> Result<(), CacheError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.health.load(Ordering::SeqCst) {
            UP => Ok(()),
            DOWN => Err(CacheError("down".into())),
            _ => std::future::pending().await,
        }
    }

    fn set_health(&self, health: u8) {
        self.health.store(health, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl CartCache for FaultyCache {
    async fn get(&self, user: &UserId) -> Result<Cached, CacheError> {
        self.check_health().await?;
        self.memory.get(user).await
    }

    async fn put(&self, cart: Arc<Cart>, token: FillToken) -> Result<(), CacheError> {
        self.check_health().await?;
        self.memory.put(cart, token).await
    }

    async fn invalidate(&self, user: &UserId, version: Version) -> Result<FillToken, CacheError> {
        self.check_health().await?;
        self.memory.invalidate(user, version).await
    }

    async fn forget(&self, user: &UserId) -> Result<(), CacheError> {
        self.check_health().await?;
        self.memory.forget(user).await
    }
}

const OPTIONS: GuardOptions = GuardOptions {
    timeout: Duration::from_millis(20),
    retry_after: Duration::from_millis(40),
    max_ttl: Duration::from_millis(80),
};

fn guarded(retry_after: Duration) -> (Arc<FaultyCache>, GuardedCache) {
    let memory = MemoryCache::new(Duration::from_mins(1), Duration::ZERO);
    let inner = Arc::new(FaultyCache {
        memory,
        health: AtomicU8::new(UP),
        calls: AtomicUsize::new(0),
    });
    let options = GuardOptions { retry_after, ..OPTIONS };
    (inner.clone(), GuardedCache::new(inner, options))
}

fn cart(user: &UserId, version: i64) -> Arc<Cart> {
    let mut cart = Cart::new(user.clone());
    (0..version).for_each(|_| cart.bump_version(CartId(Uuid::from_u128(1)), Timestamp::UNIX_EPOCH));
    Arc::new(cart)
}

fn user() -> UserId {
    UserId::new("u").unwrap()
}

/// The cache calls of a write; `None` if the cache was not reached before the write.
async fn write(cache: &GuardedCache, version: i64) -> Option<()> {
    let token = cache.invalidate(&user(), Version(version)).await?;
    cache.put(cart(&user(), version), token).await;
    Some(())
}

/// The cache calls of a read that finds this version in the store.
async fn read(cache: &GuardedCache, stored: i64) -> CacheLookup {
    let lookup = cache.get(&user()).await;
    if let CacheLookup::Miss(token) = lookup {
        cache.put(cart(&user(), stored), token).await;
    }
    lookup
}

fn hit(version: i64) -> CacheLookup {
    CacheLookup::Hit(cart(&user(), version))
}

/// Waits until a call after the pause has reached the cache.
async fn recovered(cache: &GuardedCache) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while cache.get(&UserId::new("nobody").unwrap()).await == CacheLookup::Skipped {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_healthy_cache_answers() {
    let (_, cache) = guarded(OPTIONS.retry_after);
    assert!(matches!(read(&cache, 1).await, CacheLookup::Miss(_)));
    assert_eq!(read(&cache, 1).await, hit(1));
    write(&cache, 2).await.unwrap();
    assert_eq!(read(&cache, 2).await, hit(2));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_down_or_hangs_is_skipped_after_one_call() {
    for health in [DOWN, HUNG] {
        let (inner, cache) = guarded(Duration::from_mins(1));
        inner.set_health(health);
        for _ in 0..100 {
            assert_eq!(cache.get(&user()).await, CacheLookup::Skipped);
            cache.put(cart(&user(), 1), UNKNOWN_TOKEN).await;
            assert_eq!(cache.invalidate(&user(), Version(2)).await, None);
            cache.catch_up().await;
        }
        assert_eq!(inner.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_call_probes_the_cache_and_the_others_skip_it() {
    let (inner, cache) = guarded(OPTIONS.retry_after);
    inner.set_health(HUNG);
    assert_eq!(cache.get(&user()).await, CacheLookup::Skipped);
    tokio::time::advance(OPTIONS.retry_after).await;
    let user = user();
    let lookups = futures::future::join_all((0..20).map(|_| cache.get(&user))).await;
    assert!(lookups.iter().all(|lookup| *lookup == CacheLookup::Skipped));
    assert_eq!(inner.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_back_is_used_again() {
    let (inner, cache) = guarded(OPTIONS.retry_after);
    inner.set_health(DOWN);
    assert_eq!(write(&cache, 1).await, None);
    inner.set_health(UP);
    recovered(&cache).await;
    write(&cache, 1).await.unwrap();
    assert_eq!(read(&cache, 1).await, hit(1));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_cache_missed_is_not_hidden_by_an_older_copy() {
    for health in [DOWN, HUNG] {
        let (inner, cache) = guarded(OPTIONS.retry_after);
        write(&cache, 1).await.unwrap();
        inner.set_health(health);
        assert_eq!(write(&cache, 2).await, None);
        inner.set_health(UP);
        recovered(&cache).await;
        assert!(
            matches!(cache.get(&user()).await, CacheLookup::Miss(_)),
            "version 1 is still cached"
        );
        cache.put(cart(&user(), 1), UNKNOWN_TOKEN).await;
        assert!(
            matches!(read(&cache, 1).await, CacheLookup::Miss(_)),
            "a slow reader cached version 1"
        );
        assert!(matches!(read(&cache, 2).await, CacheLookup::Miss(_)));
        assert_eq!(read(&cache, 2).await, hit(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_put_failed_is_not_hidden_by_an_older_copy() {
    let (inner, cache) = guarded(OPTIONS.retry_after);
    write(&cache, 1).await.unwrap();
    let token = cache.invalidate(&user(), Version(2)).await.unwrap();
    inner.set_health(DOWN);
    cache.put(cart(&user(), 2), token).await;
    inner.set_health(UP);
    recovered(&cache).await;
    assert!(matches!(read(&cache, 2).await, CacheLookup::Miss(_)));
    assert_eq!(read(&cache, 2).await, hit(2));
}

#[tokio::test(start_paused = true)]
async fn missed_writes_are_invalidated_when_the_cache_is_back() {
    let (inner, cache) = guarded(OPTIONS.retry_after);
    let cache = Arc::new(cache);
    let other = GuardedCache::new(Arc::new(inner.memory.clone()), OPTIONS);
    write(&cache, 1).await.unwrap();
    inner.set_health(DOWN);
    assert_eq!(write(&cache, 2).await, None);
    assert_eq!(read(&other, 2).await, hit(1), "the other process cannot know");
    let tasks = Tasks::new();
    let (catching_up, stop) = (cache.clone(), tasks.clone());
    tasks.spawn(async move { catching_up.run_catch_up(stop).await });
    inner.set_health(UP);
    tokio::time::timeout(Duration::from_secs(10), async {
        while read(&other, 2).await == hit(1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    assert!(cache.state().missed_writes.is_empty());
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_invalidates_missed_writes_in_a_skipped_cache() {
    let (inner, cache) = guarded(Duration::from_mins(1));
    let other = GuardedCache::new(Arc::new(inner.memory.clone()), OPTIONS);
    write(&cache, 1).await.unwrap();
    inner.set_health(DOWN);
    assert_eq!(write(&cache, 2).await, None);
    inner.set_health(UP);
    let tasks = Tasks::new();
    assert!(tasks.stop(Duration::ZERO).await);
    cache.run_catch_up(tasks).await;
    assert!(matches!(read(&other, 2).await, CacheLookup::Miss(_)));
    assert_eq!(read(&other, 2).await, hit(2));
}

#[tokio::test(start_paused = true)]
async fn after_too_many_missed_writes_the_cache_is_skipped_until_all_entries_expired() {
    let (inner, cache) = guarded(OPTIONS.retry_after);
    write(&cache, 1).await.unwrap();
    inner.set_health(DOWN);
    let users: HashSet<_> = (0..=MAX_MISSED_WRITES)
        .map(|n| UserId::new(n.to_string()).unwrap())
        .collect();
    for user in &users {
        cache.invalidate(user, Version(1)).await;
    }
    inner.set_health(UP);
    assert!(cache.state().missed_writes.is_empty());
    let until = cache.state().distrusted_until.unwrap();
    while Instant::now() < until {
        let lookup = cache.get(&user()).await;
        assert!(lookup == CacheLookup::Skipped || Instant::now() >= until);
        // Writes still reach the cache for other processes.
        write(&cache, 2).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    recovered(&cache).await;
    assert_eq!(read(&cache, 2).await, hit(2));
}
