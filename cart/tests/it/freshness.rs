//! Reads that bypass the cache, and carts that are not cached.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use cart::{
    Cache, RedisEndpoint, Secret, Store,
    app::Carts,
    domain::{Cart, ChangeOptions, UserId, Version},
    ports::{CartCache, CartStore, Saved},
};
use jiff::SignedDuration;
use proto::cart::v1::{AddItemRequest, GetCartRequest};
use runtime::{Clock, Runtime};
use testing::{Fixture, MongoFixture, RedisFixture};

use crate::{
    fixtures::mongo_store,
    support::{Catalogue, FakeStore, Shop, cart_of, carts, guarded, in_2100, memory_cache, pieces, product, user},
};

/// A cart of which the cache has an older copy, as after a change by another process.
async fn with_older_copy(cache: &Arc<dyn CartCache>) -> (Arc<FakeStore>, Carts) {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), cache.clone());
    assert_eq!(store.save(&cart_of(&user(), 1), None).await.unwrap(), Saved::Done);
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(1));
    let saved = store.save(&cart_of(&user(), 2), Some(Version(1))).await;
    assert_eq!(saved.unwrap(), Saved::Done);
    (store, carts)
}

#[tokio::test]
async fn a_fresh_read_returns_the_stored_cart_and_invalidates_an_older_copy() {
    let (_, carts) = with_older_copy(&memory_cache()).await;
    assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(1), "a copy");
    assert_eq!(*carts.get_fresh_cart(&user()).await.unwrap(), cart_of(&user(), 2));
    assert_eq!(*carts.get_cart(&user()).await.unwrap(), cart_of(&user(), 2));
}

#[tokio::test]
async fn a_fresh_read_fills_the_cache() {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), memory_cache());
    for _ in 0..2 {
        carts.get_fresh_cart(&user()).await.unwrap();
    }
    assert_eq!(*store.loads.lock().unwrap(), 2);
    assert_eq!(*carts.get_cart(&user()).await.unwrap(), Cart::new(user()));
    assert_eq!(*store.loads.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_fresh_read_needs_the_store() {
    let (store, carts) = with_older_copy(&memory_cache()).await;
    store.down.store(true, Ordering::SeqCst);
    carts.get_cart(&user()).await.unwrap();
    carts.get_fresh_cart(&user()).await.unwrap_err();
}

#[tokio::test]
async fn a_cart_that_may_expire_soon_is_not_cached() {
    let store = Arc::new(FakeStore::default());
    let (now, day) = (Arc::new(AtomicI64::new(0)), 24);
    let hours = now.clone();
    let runtime = Runtime {
        clock: Clock::from_fn(move || in_2100() + SignedDuration::from_hours(hours.load(Ordering::SeqCst))),
        ..Runtime::system()
    };
    let carts = Carts::new(store.clone(), guarded(memory_cache()), Arc::new(Catalogue), &runtime);
    store.save(&cart_of(&user(), 7), None).await.unwrap();
    // 90 days minus the longest TTL of a copy, minus a day of clock skew.
    for (hours, fresh) in [
        (89 * day, true),
        (90 * day, true),
        (1000 * day, true),
        (88 * day, false),
    ] {
        now.store(hours, Ordering::SeqCst);
        let before = *store.loads.lock().unwrap();
        for _ in 0..2 {
            assert_eq!(carts.get_cart(&user()).await.unwrap().version, Version(7));
            carts.get_fresh_cart(&user()).await.unwrap();
        }
        let loads = *store.loads.lock().unwrap() - before;
        assert_eq!(loads, if fresh { 4 } else { 3 }, "after {hours} h");
    }
}

async fn get(shop: &Shop, fresh: bool) -> i64 {
    let request = GetCartRequest {
        user_id: "u".to_owned(),
        fresh,
    };
    let answer = shop.client.clone().get_cart(request).await.unwrap();
    answer.into_inner().cart.unwrap().version
}

async fn change_past_cache(shop: &Shop, store: &dyn CartStore) {
    let add = AddItemRequest {
        user_id: "u".to_owned(),
        product_id: 1,
        quantity: 1,
        expected_version: None,
        idempotency_key: String::new(),
    };
    shop.client.clone().add_item(add).await.unwrap();
    assert_eq!(get(shop, false).await, 1);
    let mut cart = store.load(&user()).await.unwrap().unwrap();
    cart.version = Version(2);
    assert_eq!(store.save(&cart, Some(Version(1))).await.unwrap(), Saved::Done);
}

#[tokio::test]
async fn a_caller_can_ask_for_a_fresh_read() {
    let shop = Shop::open().await;
    change_past_cache(&shop, shop.sqlite_store().await.as_ref()).await;
    assert_eq!(get(&shop, false).await, 1, "a copy");
    assert_eq!(get(&shop, true).await, 2);
    assert_eq!(get(&shop, false).await, 2);
}

#[tokio::test]
async fn two_processes_share_their_engines() {
    let (Some(database), Some(keys)) = (MongoFixture::new(), RedisFixture::new()) else {
        return;
    };
    let store = Store::Mongo {
        uri: Secret::new(&*database.uri),
        database: database.name.clone(),
    };
    let cache = Cache::Redis {
        endpoint: RedisEndpoint::plaintext(keys.address),
        prefix: keys.prefix,
    };
    let one = Shop::open_on(store.clone(), cache.clone()).await;
    let other = Shop::open_on(store, cache).await;
    change_past_cache(&one, &mongo_store(&database).await).await;
    assert_eq!(get(&other, false).await, 1, "the copy of the other process");
    assert_eq!(get(&other, true).await, 2);
    assert_eq!(get(&one, false).await, 2);
    let one = one.restart().await;
    assert_eq!(get(&one, true).await, 2);
    database.close().await;
}

#[tokio::test]
async fn a_customer_without_a_cart_gets_an_empty_cart() {
    let (_, carts) = with_older_copy(&memory_cache()).await;
    let nobody = UserId::new("nobody").unwrap();
    assert_eq!(*carts.get_fresh_cart(&nobody).await.unwrap(), Cart::new(nobody.clone()));
    let added = carts
        .add_item(nobody.clone(), product(1), pieces(1), ChangeOptions::default())
        .await;
    assert_eq!(added.unwrap().0.version, Version(1));
    assert_eq!(carts.get_cart(&nobody).await.unwrap().version, Version(1));
}
