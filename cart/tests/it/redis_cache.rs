//! Copies of carts in Redis: what others see of them there, and what becomes of the shop when Redis fails.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cart::{
    RedisLink, Secret,
    app::{Carts, Terms},
    cache::{RedisCache, RedisOptions},
    domain::{Cart, UserId, Version},
    ports::{Cached, CartCache},
};
use redis::AsyncCommands;
use runtime::Ids;
use storage::OpenError;
use testing::{Engine, Fixture, RedisFixture};

use crate::{
    network::{Proxy, nobody, parrot},
    places::{open_redis, redis_cache, redis_options},
    support::{FakeStore, MINUTE, SECOND, cart_of, carts, eventually, pieces, product, quantities, user},
};

async fn cache_in(keys: &RedisFixture) -> RedisCache {
    redis_cache(keys, MINUTE).await
}

fn key(keys: &RedisFixture) -> String {
    format!("{}cart:u", keys.prefix)
}

async fn write(cache: &RedisCache, version: i64) {
    let ticket = cache.invalidate(&user(), Version(version)).await.unwrap();
    cache.put(Arc::new(cart_of(&user(), version)), ticket).await.unwrap();
}

#[tokio::test]
async fn a_person_can_read_what_is_kept() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, mut connection) = (cache_in(&keys).await, keys.connect().await);
    write(&cache, 2).await;
    let shown: String = connection.get(key(&keys)).await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["version"], 2);
    assert_eq!(shown["cart"]["user"], "u");
    assert_eq!(shown["cart"]["lines"][0]["quantity"], 2);
    assert_eq!(shown["cart"]["lines"][0]["price"], 100);
    let ticket = cache.invalidate(&user(), Version(3)).await.unwrap();
    let shown: String = connection.get(key(&keys)).await.unwrap();
    let gap = format!(r#"{{"oldest":3,"ticket":"{}","era":""#, ticket.0);
    assert!(shown.starts_with(&gap), "{shown}");
}

#[tokio::test]
async fn nobody_believes_what_was_kept_before_an_era() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, other_process) = (cache_in(&keys).await, cache_in(&keys).await);
    write(&cache, 2).await;
    // Two processes are in the middle of a write; one of them has not reached the cache with it, and dies.
    let before = cache.invalidate(&user(), Version(3)).await.unwrap();
    other_process.forget_all().await.unwrap();
    let Cached::Nothing(ticket) = cache.get(&user()).await.unwrap() else {
        panic!("it is still there");
    };
    // Nor does anybody take what was loaded or written before it.
    cache.put(Arc::new(cart_of(&user(), 3)), before).await.unwrap();
    assert!(matches!(cache.get(&user()).await.unwrap(), Cached::Nothing(_)));
    other_process.put(Arc::new(cart_of(&user(), 4)), ticket).await.unwrap();
    let kept = Cached::Cart(Arc::new(cart_of(&user(), 4)));
    for cache in [&cache, &other_process] {
        assert_eq!(cache.get(&user()).await.unwrap(), kept);
    }
    other_process.forget_all().await.unwrap();
    assert!(matches!(cache.get(&user()).await.unwrap(), Cached::Nothing(_)));
}

#[tokio::test]
async fn entries_live_for_the_time_and_a_part_of_the_jitter_and_gaps_as_long_as_any() {
    let Some(keys) = RedisFixture::new() else { return };
    let link = RedisLink::open(&*keys.address);
    let options = RedisOptions {
        jitter: 5 * MINUTE,
        ..redis_options(&keys, &link, 10 * MINUTE)
    };
    let (cache, mut connection) = (open_redis(options).await, keys.connect().await);
    let ten_minutes = 600_000;
    let mut lives = Vec::new();
    for version in 1..=40 {
        cache.invalidate(&user(), Version(version)).await.unwrap();
        let life: i64 = connection.pttl(key(&keys)).await.unwrap();
        assert!(
            (ten_minutes * 3 / 2 - 10_000..=ten_minutes * 3 / 2).contains(&life),
            "{life}"
        );
        write(&cache, version).await;
        lives.push(connection.pttl::<_, i64>(key(&keys)).await.unwrap());
    }
    assert!(
        lives
            .iter()
            .all(|life| (ten_minutes - 10_000..=ten_minutes * 3 / 2).contains(life)),
        "{lives:?}"
    );
    let (shortest, longest) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
    assert!(longest - shortest > 60_000, "{lives:?}");
}

#[tokio::test]
async fn a_gap_that_is_looked_at_all_the_time_ends_all_the_same() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, mut connection) = (cache_in(&keys).await, keys.connect().await);
    cache.invalidate(&user(), Version(3)).await.unwrap();
    // As if it had been there for long.
    let _: bool = connection.pexpire(key(&keys), 5_000).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(cache.get(&user()).await.unwrap(), Cached::Nothing(_)));
        let life: i64 = connection.pttl(key(&keys)).await.unwrap();
        assert!(life <= 5_000, "{life}");
    }
}

#[tokio::test]
async fn what_is_no_cart_counts_as_nothing() {
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
        let Cached::Nothing(ticket) = found else {
            panic!("{nonsense}: {found:?}")
        };
        cache.put(Arc::new(cart_of(&user(), 1)), ticket).await.unwrap();
        assert_eq!(
            cache.get(&user()).await.unwrap(),
            Cached::Cart(Arc::new(cart_of(&user(), 1)))
        );
    }
}

/// Whoever can write to Redis, or a mistake that mixes up keys, shows nobody the cart of another.
#[tokio::test]
async fn a_cart_under_the_key_of_another_customer_is_forgotten() {
    let Some(keys) = RedisFixture::new() else { return };
    let (cache, mut connection) = (cache_in(&keys).await, keys.connect().await);
    let Cached::Nothing(ticket) = cache.get(&user()).await.unwrap() else {
        panic!("a key of its own is empty")
    };
    cache.put(Arc::new(cart_of(&user(), 1)), ticket).await.unwrap();
    let other = UserId::new("other").unwrap();
    let key_of_other = format!("{}cart:other", keys.prefix);
    let _: () = redis::cmd("COPY")
        .arg(key(&keys))
        .arg(&key_of_other)
        .query_async(&mut connection)
        .await
        .unwrap();
    let found = cache.get(&other).await.unwrap();
    assert!(matches!(found, Cached::Nothing(_)), "{found:?}");
    let kept: Option<String> = connection.get(&key_of_other).await.unwrap();
    assert!(
        !kept.unwrap_or_default().contains("\"user\""),
        "the copy is still there"
    );
}

async fn add(carts: &Carts) -> Arc<Cart> {
    let added = carts.add_item(user(), product(1), pieces(1), Terms::default()).await;
    added.unwrap().0
}

/// Shops while Redis fails and after, with a limit on what that may cost.
async fn shop_through(fail: impl Fn(&Proxy)) {
    let Some(keys) = RedisFixture::new() else { return };
    let proxy = Proxy::to(keys.address.clone()).await;
    let store = Arc::new(FakeStore::default());
    let link = RedisLink::open(proxy.address.to_string());
    let options = RedisOptions {
        timeout: Duration::from_millis(50),
        ..redis_options(&keys, &link, MINUTE)
    };
    let cache = open_redis(options).await;
    let here = carts(store.clone(), Arc::new(cache.clone()));
    add(&here).await;
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
        assert_eq!(quantities(add(&here).await.as_ref()), [(1, n)]);
        assert_eq!(quantities(&here.get_cart(&user()).await.unwrap()), [(1, n)]);
    }
    assert!(begin.elapsed() < 20 * SECOND, "{:?}", begin.elapsed());
    proxy.mend();
    eventually("Redis is used again, and what it had is not believed", || async {
        assert_eq!(quantities(&here.get_cart(&user()).await.unwrap()), [(1, 21)]);
        let loads = *store.loads.lock().unwrap();
        assert_eq!(quantities(&here.get_cart(&user()).await.unwrap()), [(1, 21)]);
        cache.is_up().await && *store.loads.lock().unwrap() == loads
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_hangs_in_the_middle_fails_no_request() {
    shop_through(Proxy::block).await;
}

#[tokio::test]
async fn a_redis_that_goes_away_in_the_middle_fails_no_request() {
    shop_through(Proxy::cut).await;
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
        let (added, _, ()) = tokio::join!(add(one), other.get_cart(&user), keys.clear());
        assert_eq!(*other.get_cart(&user).await.unwrap(), *added);
        assert_eq!(*one.get_cart(&user).await.unwrap(), *added);
    }
}

#[tokio::test]
async fn a_writer_who_dies_after_the_save_leaves_no_older_copy_to_others() {
    let Some(keys) = RedisFixture::new() else { return };
    let store = Arc::new(FakeStore::default());
    let here = carts(store.clone(), Arc::new(cache_in(&keys).await));
    let there = carts(store.clone(), Arc::new(cache_in(&keys).await));
    add(&here).await;
    assert_eq!(there.get_cart(&user()).await.unwrap().version, Version(1));
    // Nothing more is done after that save, by anybody.
    store.loses_answers.store(true, Ordering::SeqCst);
    let lost = here.add_item(user(), product(1), pieces(1), Terms::default()).await;
    lost.unwrap_err();
    assert_eq!(there.get_cart(&user()).await.unwrap().version, Version(2));
}

async fn refusal(address: &str, password: Option<&str>) -> OpenError {
    let link = RedisLink {
        password: password.map(Secret::new),
        ..RedisLink::open(address)
    };
    let options = RedisOptions {
        link: &link,
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
async fn an_address_that_is_none_is_refused() {
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
async fn where_nobody_is_there_is_no_redis() {
    let address = nobody().await.to_string();
    let refusal = refusal(&address, Some("hush")).await;
    assert_says(&refusal, "REDIS_ADDR", &format!("no Redis answers at {address}"));
}

#[tokio::test]
async fn a_redis_that_hangs_from_the_start_is_refused() {
    let address: SocketAddr = parrot("").await;
    assert_says(
        &refusal(&address.to_string(), None).await,
        "REDIS_ADDR",
        "no Redis answers at",
    );
}

#[tokio::test]
async fn a_redis_that_wants_a_password_is_refused_without_one() {
    let address = parrot("-NOAUTH Authentication required.\r\n").await;
    assert_says(
        &refusal(&address.to_string(), None).await,
        "REDIS_PASSWORD",
        "wants a password",
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let address = parrot("-WRONGPASS invalid username-password pair or user is disabled.\r\n").await;
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
async fn what_is_no_redis_is_refused() {
    let address = parrot("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_says(&refusal(&address.to_string(), None).await, "REDIS_ADDR", "is no Redis");
}
