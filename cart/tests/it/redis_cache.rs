//! The cart cache in Redis: its entries, and carts while Redis fails.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cart::{
    RedisEndpoint, Secret,
    cache::{RedisCache, RedisOptions},
    domain::{UserId, Version},
    ports::{Cached, CartCache},
};
use redis::AsyncCommands;
use runtime::Ids;
use storage::OpenError;
use testing::{Engine, Fixture, RedisFixture};

use crate::{
    fixtures::{open_redis, redis_cache, redis_options},
    network::{Proxy, canned_server, unused_address},
    support::{FakeStore, MINUTE, SECOND, add, cart_of, carts, eventually, quantities, try_add, user},
};

async fn cache_in(keys: &RedisFixture) -> RedisCache {
    redis_cache(keys, MINUTE).await
}

fn key(keys: &RedisFixture) -> String {
    format!("{}cart:u", keys.prefix)
}

async fn write(cache: &RedisCache, version: i64) {
    let token = cache.invalidate(&user(), Version(version)).await.unwrap();
    cache.put(Arc::new(cart_of(&user(), version)), token).await.unwrap();
}

#[tokio::test]
async fn a_cache_entry_is_readable() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, mut connection) = (cache_in(&keys).await, keys.connect().await);
    write(&cache, 2).await;
    let shown: String = connection.get(key(&keys)).await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["version"], 2);
    assert_eq!(shown["cart"]["user"], "u");
    assert_eq!(shown["cart"]["lines"][0]["quantity"], 2);
    assert_eq!(shown["cart"]["lines"][0]["price"], 100);
    let token = cache.invalidate(&user(), Version(3)).await.unwrap();
    let shown: String = connection.get(key(&keys)).await.unwrap();
    let tombstone = format!(r#"{{"oldest":3,"ticket":"{}","era":""#, token.0);
    assert!(shown.starts_with(&tombstone), "{shown}");
}

#[tokio::test]
async fn entries_of_an_earlier_era_are_ignored() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, other_process) = (cache_in(&keys).await, cache_in(&keys).await);
    write(&cache, 2).await;
    // Two processes are writing. One crashes before its write reaches the cache.
    let before = cache.invalidate(&user(), Version(3)).await.unwrap();
    other_process.forget_all().await.unwrap();
    let Cached::Missing(token) = cache.get(&user()).await.unwrap() else {
        panic!("it is still there");
    };
    // A token of the earlier era is refused.
    cache.put(Arc::new(cart_of(&user(), 3)), before).await.unwrap();
    assert!(matches!(cache.get(&user()).await.unwrap(), Cached::Missing(_)));
    other_process.put(Arc::new(cart_of(&user(), 4)), token).await.unwrap();
    let kept = Cached::Cart(Arc::new(cart_of(&user(), 4)));
    for cache in [&cache, &other_process] {
        assert_eq!(cache.get(&user()).await.unwrap(), kept);
    }
    other_process.forget_all().await.unwrap();
    assert!(matches!(cache.get(&user()).await.unwrap(), Cached::Missing(_)));
}

#[tokio::test]
async fn carts_get_a_jittered_ttl_and_tombstones_the_longest() {
    let Some(keys) = RedisFixture::new() else { return };
    let endpoint = RedisEndpoint::plaintext(&*keys.address);
    let options = RedisOptions {
        jitter: 5 * MINUTE,
        ..redis_options(&keys, &endpoint, 10 * MINUTE)
    };
    let (cache, mut connection) = (open_redis(options).await, keys.connect().await);
    let ten_minutes = 600_000;
    let mut ttls = Vec::new();
    for version in 1..=40 {
        cache.invalidate(&user(), Version(version)).await.unwrap();
        let ttl: i64 = connection.pttl(key(&keys)).await.unwrap();
        assert!(
            (ten_minutes * 3 / 2 - 10_000..=ten_minutes * 3 / 2).contains(&ttl),
            "{ttl}"
        );
        write(&cache, version).await;
        ttls.push(connection.pttl::<_, i64>(key(&keys)).await.unwrap());
    }
    assert!(
        ttls.iter()
            .all(|ttl| (ten_minutes - 10_000..=ten_minutes * 3 / 2).contains(ttl)),
        "{ttls:?}"
    );
    let (shortest, longest) = (ttls.iter().min().unwrap(), ttls.iter().max().unwrap());
    assert!(longest - shortest > 60_000, "{ttls:?}");
}

#[tokio::test]
async fn reads_do_not_extend_the_ttl_of_a_tombstone() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, mut connection) = (cache_in(&keys).await, keys.connect().await);
    cache.invalidate(&user(), Version(3)).await.unwrap();
    // As if the tombstone were old.
    let _: bool = connection.pexpire(key(&keys), 5_000).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(cache.get(&user()).await.unwrap(), Cached::Missing(_)));
        let ttl: i64 = connection.pttl(key(&keys)).await.unwrap();
        assert!(ttl <= 5_000, "{ttl}");
    }
}

#[tokio::test]
async fn an_invalid_entry_counts_as_missing() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, mut connection) = (cache_in(&keys).await, keys.connect().await);
    for nonsense in [
        "",
        "nonsense",
        r#"{"version":7,"cart":{}}"#,
        r#"{"version":7,"#,
        r#"{"oldest":7}"#,
    ] {
        let _: () = connection.set(key(&keys), nonsense).await.unwrap();
        let found = cache.get(&user()).await.unwrap();
        let Cached::Missing(token) = found else {
            panic!("{nonsense}: {found:?}")
        };
        cache.put(Arc::new(cart_of(&user(), 1)), token).await.unwrap();
        assert_eq!(
            cache.get(&user()).await.unwrap(),
            Cached::Cart(Arc::new(cart_of(&user(), 1)))
        );
    }
}

/// Neither an attacker with write access to Redis nor mixed-up keys may show one customer the cart of another.
#[tokio::test]
async fn a_cart_under_the_key_of_another_customer_is_forgotten() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, mut connection) = (cache_in(&keys).await, keys.connect().await);
    let Cached::Missing(token) = cache.get(&user()).await.unwrap() else {
        panic!("a key of its own is empty")
    };
    cache.put(Arc::new(cart_of(&user(), 1)), token).await.unwrap();
    let other = UserId::new("other").unwrap();
    let key_of_other = format!("{}cart:other", keys.prefix);
    let _: () = redis::cmd("COPY")
        .arg(key(&keys))
        .arg(&key_of_other)
        .query_async(&mut connection)
        .await
        .unwrap();
    let found = cache.get(&other).await.unwrap();
    assert!(matches!(found, Cached::Missing(_)), "{found:?}");
    let kept: Option<String> = connection.get(&key_of_other).await.unwrap();
    assert!(
        !kept.unwrap_or_default().contains("\"user\""),
        "the copy is still there"
    );
}

/// Changes and reads a cart while Redis fails and after, within a time limit.
async fn shop_through_failing_proxy(fail: impl Fn(&Proxy)) {
    let Some(keys) = RedisFixture::new() else { return };
    let proxy = Proxy::to(keys.address.clone()).await;
    let store = Arc::new(FakeStore::default());
    let endpoint = RedisEndpoint::plaintext(proxy.address.to_string());
    let options = RedisOptions {
        timeout: Duration::from_millis(50),
        ..redis_options(&keys, &endpoint, MINUTE)
    };
    let cache = open_redis(options).await;
    let here = carts(store.clone(), Arc::new(cache.clone()));
    add(&here, 1, 1).await;
    eventually("the cart is copied", || async {
        here.get_cart(&user()).await.unwrap();
        let loads = *store.loads.lock().unwrap();
        here.get_cart(&user()).await.unwrap();
        *store.loads.lock().unwrap() == loads
    })
    .await;
    fail(&proxy);
    let begin = Instant::now();
    for n in 2..=21 {
        assert_eq!(quantities(add(&here, 1, 1).await.as_ref()), [(1, n)]);
        assert_eq!(quantities(&here.get_cart(&user()).await.unwrap()), [(1, n)]);
    }
    assert!(begin.elapsed() < 20 * SECOND, "{:?}", begin.elapsed());
    proxy.restore();
    eventually("Redis is used again, without its older copies", || async {
        assert_eq!(quantities(&here.get_cart(&user()).await.unwrap()), [(1, 21)]);
        let loads = *store.loads.lock().unwrap();
        assert_eq!(quantities(&here.get_cart(&user()).await.unwrap()), [(1, 21)]);
        cache.is_up().await && *store.loads.lock().unwrap() == loads
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_hangs_in_the_middle_fails_no_request() {
    shop_through_failing_proxy(Proxy::stall).await;
}

#[tokio::test]
async fn a_redis_that_goes_away_in_the_middle_fails_no_request() {
    shop_through_failing_proxy(Proxy::disconnect).await;
}

#[tokio::test]
async fn a_redis_that_is_emptied_in_the_middle_shows_no_old_cart() {
    let Some(keys) = RedisFixture::new() else { return };
    let store = Arc::new(FakeStore::default());
    let shops = [
        carts(store.clone(), Arc::new(cache_in(&keys).await)),
        carts(store, Arc::new(cache_in(&keys).await)),
    ];
    let user = user();
    for n in 1..=90 {
        let (one, other) = (&shops[n % 2], &shops[(n + 1) % 2]);
        let (added, _, ()) = tokio::join!(add(one, 1, 1), other.get_cart(&user), keys.clear());
        assert_eq!(*other.get_cart(&user).await.unwrap(), *added);
        assert_eq!(*one.get_cart(&user).await.unwrap(), *added);
    }
}

#[tokio::test]
async fn a_crash_after_the_save_leaves_no_older_copy() {
    let Some(keys) = RedisFixture::new() else { return };
    let store = Arc::new(FakeStore::default());
    let here = carts(store.clone(), Arc::new(cache_in(&keys).await));
    let there = carts(store.clone(), Arc::new(cache_in(&keys).await));
    add(&here, 1, 1).await;
    assert_eq!(there.get_cart(&user()).await.unwrap().version, Version(1));
    // After this save nothing more reaches the cache.
    store.loses_answers.store(true, Ordering::SeqCst);
    let lost = try_add(&here, 1, 1).await;
    lost.unwrap_err();
    assert_eq!(there.get_cart(&user()).await.unwrap().version, Version(2));
}

async fn refusal(address: &str, password: Option<&str>) -> OpenError {
    let endpoint = RedisEndpoint {
        password: password.map(Secret::new),
        ..RedisEndpoint::plaintext(address)
    };
    let options = RedisOptions {
        endpoint: &endpoint,
        prefix: "test:",
        ttl: MINUTE,
        jitter: Duration::ZERO,
        timeout: SECOND,
    };
    let begin = Instant::now();
    let refusal = RedisCache::open(options, Ids::random()).await.unwrap_err();
    assert!(begin.elapsed() < 10 * SECOND, "{:?}", begin.elapsed());
    refusal
}

fn assert_says(refusal: &OpenError, variable: &str, words: &str) {
    let line = refusal.to_string();
    assert!(line.starts_with(&format!("{variable}: ")), "{line}");
    assert!(line.contains(words) && !line.contains('\n'), "{line}");
    assert!(!line.contains("hush"), "{line}");
}

#[tokio::test]
async fn an_invalid_address_is_refused() {
    for address in [
        "",
        "localhost",
        "localhost:",
        ":6379",
        "localhost:port",
        "localhost:0",
        "redis://localhost:6379",
    ] {
        assert_says(
            &refusal(address, None).await,
            "REDIS_ADDR",
            "write it like localhost:6379",
        );
    }
}

#[tokio::test]
async fn an_unreachable_redis_is_refused() {
    let address = unused_address().await.to_string();
    let refusal = refusal(&address, Some("hush")).await;
    assert_says(&refusal, "REDIS_ADDR", &format!("no Redis answers at {address}"));
}

#[tokio::test]
async fn a_hung_redis_is_refused_at_the_start() {
    let address: SocketAddr = canned_server("").await;
    assert_says(
        &refusal(&address.to_string(), None).await,
        "REDIS_ADDR",
        "no Redis answers at",
    );
}

#[tokio::test]
async fn a_missing_password_is_refused() {
    let address = canned_server("-NOAUTH Authentication required.\r\n").await;
    assert_says(
        &refusal(&address.to_string(), None).await,
        "REDIS_PASSWORD",
        "wants a password",
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let address = canned_server("-WRONGPASS invalid username-password pair or user is disabled.\r\n").await;
    assert_says(
        &refusal(&address.to_string(), Some("hush")).await,
        "REDIS_PASSWORD",
        "refuses this password",
    );
    let Some(address) = Engine::Redis.address() else { return };
    assert_says(
        &refusal(&address, Some("hush")).await,
        "REDIS_PASSWORD",
        "unset it if Redis has none",
    );
}

#[tokio::test]
async fn another_server_than_redis_is_refused() {
    let address = canned_server("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_says(&refusal(&address.to_string(), None).await, "REDIS_ADDR", "is no Redis");
}
