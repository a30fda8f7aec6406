use std::{
    collections::HashSet,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::domain::CartId;

/// One that no cache has given out.
const STRANGE: Ticket = Ticket(Uuid::max());

const UP: u8 = 0;
const DOWN: u8 = 1;
const HUNG: u8 = 2;

/// A cache whose health a test sets.
struct Moody {
    memory: MemoryCache,
    mood: AtomicU8,
    calls: AtomicUsize,
}

impl Moody {
    async fn pass(&self) -> Result<(), CacheError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.mood.load(Ordering::SeqCst) {
            UP => Ok(()),
            DOWN => Err(CacheError("down".into())),
            _ => std::future::pending().await,
        }
    }

    fn set(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl CartCache for Moody {
    async fn get(&self, user: &UserId) -> Result<Cached, CacheError> {
        self.pass().await?;
        self.memory.get(user).await
    }

    async fn put(&self, cart: Arc<Cart>, ticket: Ticket) -> Result<(), CacheError> {
        self.pass().await?;
        self.memory.put(cart, ticket).await
    }

    async fn invalidate(&self, user: &UserId, version: Version) -> Result<Ticket, CacheError> {
        self.pass().await?;
        self.memory.invalidate(user, version).await
    }

    async fn forget(&self, user: &UserId) -> Result<(), CacheError> {
        self.pass().await?;
        self.memory.forget(user).await
    }
}

const PATIENCE: Patience = Patience {
    timeout: Duration::from_millis(20),
    pause: Duration::from_millis(40),
    lifetime: Duration::from_millis(80),
};

fn guarded(pause: Duration) -> (Arc<Moody>, GuardedCache) {
    let memory = MemoryCache::new(Duration::from_mins(1), Duration::ZERO);
    let moody = Arc::new(Moody {
        memory,
        mood: AtomicU8::new(UP),
        calls: AtomicUsize::new(0),
    });
    (moody.clone(), GuardedCache::new(moody, Patience { pause, ..PATIENCE }))
}

fn cart(user: &UserId, version: i64) -> Arc<Cart> {
    let mut cart = Cart::never_filled(user.clone());
    (0..version).for_each(|_| cart.stamp(CartId(Uuid::from_u128(1)), Timestamp::UNIX_EPOCH));
    Arc::new(cart)
}

fn user() -> UserId {
    UserId::new("u").unwrap()
}

/// What is done around a write: `None` when the cache was not reached before it.
async fn write(cache: &GuardedCache, version: i64) -> Option<()> {
    let ticket = cache.invalidate(&user(), Version(version)).await?;
    cache.put(cart(&user(), version), ticket).await;
    Some(())
}

/// What a reader does who finds this version in the store.
async fn read(cache: &GuardedCache, stored: i64) -> Lookup {
    let lookup = cache.get(&user()).await;
    if let Lookup::Miss(ticket) = lookup {
        cache.put(cart(&user(), stored), ticket).await;
    }
    lookup
}

fn hit(version: i64) -> Lookup {
    Lookup::Hit(cart(&user(), version))
}

/// Waits until the pause is over and a call that finds the cache well has ended it.
async fn recovered(cache: &GuardedCache) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while cache.get(&UserId::new("nobody").unwrap()).await == Lookup::Skipped {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_healthy_cache_answers() {
    let (_, cache) = guarded(PATIENCE.pause);
    assert!(matches!(read(&cache, 1).await, Lookup::Miss(_)));
    assert_eq!(read(&cache, 1).await, hit(1));
    write(&cache, 2).await.unwrap();
    assert_eq!(read(&cache, 2).await, hit(2));
}

#[tokio::test]
async fn a_cache_that_is_down_or_hangs_is_left_alone_after_one_call() {
    for mood in [DOWN, HUNG] {
        let (moody, cache) = guarded(Duration::from_mins(1));
        moody.set(mood);
        for _ in 0..100 {
            assert_eq!(cache.get(&user()).await, Lookup::Skipped);
            cache.put(cart(&user(), 1), STRANGE).await;
            assert_eq!(cache.invalidate(&user(), Version(2)).await, None);
            cache.catch_up().await;
        }
        assert_eq!(moody.calls(), 1);
    }
}

#[tokio::test]
async fn after_the_pause_one_call_finds_out_and_the_others_do_not_wait_for_it() {
    let (moody, cache) = guarded(PATIENCE.pause);
    moody.set(HUNG);
    assert_eq!(cache.get(&user()).await, Lookup::Skipped);
    tokio::time::sleep(PATIENCE.pause).await;
    let user = user();
    let lookups = futures::future::join_all((0..20).map(|_| cache.get(&user))).await;
    assert!(lookups.iter().all(|lookup| *lookup == Lookup::Skipped));
    assert_eq!(moody.calls(), 2);
}

#[tokio::test]
async fn a_cache_that_is_back_is_used_again() {
    let (moody, cache) = guarded(PATIENCE.pause);
    moody.set(DOWN);
    assert_eq!(write(&cache, 1).await, None);
    moody.set(UP);
    recovered(&cache).await;
    write(&cache, 1).await.unwrap();
    assert_eq!(read(&cache, 1).await, hit(1));
}

#[tokio::test]
async fn a_write_that_the_cache_missed_is_not_hidden_by_an_older_copy() {
    for mood in [DOWN, HUNG] {
        let (moody, cache) = guarded(PATIENCE.pause);
        write(&cache, 1).await.unwrap();
        moody.set(mood);
        assert_eq!(write(&cache, 2).await, None);
        moody.set(UP);
        recovered(&cache).await;
        assert!(
            matches!(cache.get(&user()).await, Lookup::Miss(_)),
            "version 1 is still in there"
        );
        cache.put(cart(&user(), 1), STRANGE).await;
        assert!(
            matches!(read(&cache, 1).await, Lookup::Miss(_)),
            "an old reader brought version 1"
        );
        assert!(matches!(read(&cache, 2).await, Lookup::Miss(_)));
        assert_eq!(read(&cache, 2).await, hit(2));
    }
}

#[tokio::test]
async fn a_write_whose_copy_was_lost_is_not_hidden_either() {
    let (moody, cache) = guarded(PATIENCE.pause);
    write(&cache, 1).await.unwrap();
    let ticket = cache.invalidate(&user(), Version(2)).await.unwrap();
    moody.set(DOWN);
    cache.put(cart(&user(), 2), ticket).await;
    moody.set(UP);
    recovered(&cache).await;
    assert!(matches!(read(&cache, 2).await, Lookup::Miss(_)));
    assert_eq!(read(&cache, 2).await, hit(2));
}

#[tokio::test]
async fn a_cache_that_others_read_too_is_told_of_what_it_missed() {
    let (moody, cache) = guarded(PATIENCE.pause);
    let cache = Arc::new(cache);
    let other = GuardedCache::new(Arc::new(moody.memory.clone()), PATIENCE);
    write(&cache, 1).await.unwrap();
    moody.set(DOWN);
    assert_eq!(write(&cache, 2).await, None);
    assert_eq!(read(&other, 2).await, hit(1), "the other one cannot know");
    let tasks = Tasks::new();
    let keeper = cache.clone();
    let stop = tasks.clone();
    tasks.spawn(async move { keeper.keep_up(stop).await });
    moody.set(UP);
    tokio::time::timeout(Duration::from_secs(10), async {
        while read(&other, 2).await == hit(1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    assert!(cache.state().missed.is_empty());
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn one_that_stops_tells_the_cache_what_it_missed_although_it_leaves_it_alone() {
    let (moody, cache) = guarded(Duration::from_mins(1));
    let other = GuardedCache::new(Arc::new(moody.memory.clone()), PATIENCE);
    write(&cache, 1).await.unwrap();
    moody.set(DOWN);
    assert_eq!(write(&cache, 2).await, None);
    moody.set(UP);
    let tasks = Tasks::new();
    assert!(tasks.stop(Duration::ZERO).await);
    cache.keep_up(tasks).await;
    assert!(matches!(read(&other, 2).await, Lookup::Miss(_)));
    assert_eq!(read(&other, 2).await, hit(2));
}

#[tokio::test]
async fn when_too_many_writes_were_missed_nothing_is_believed_until_all_copies_are_gone() {
    let (moody, cache) = guarded(PATIENCE.pause);
    write(&cache, 1).await.unwrap();
    moody.set(DOWN);
    let users: HashSet<_> = (0..=MISSED).map(|n| UserId::new(n.to_string()).unwrap()).collect();
    for user in &users {
        cache.invalidate(user, Version(1)).await;
    }
    moody.set(UP);
    assert!(cache.state().missed.is_empty());
    let until = cache.state().distrusted_until.unwrap();
    while Instant::now() < until {
        let lookup = cache.get(&user()).await;
        assert!(lookup == Lookup::Skipped || Instant::now() >= until);
        // What is written meanwhile does get there, for those who share it.
        write(&cache, 2).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    recovered(&cache).await;
    assert_eq!(read(&cache, 2).await, hit(2));
}
