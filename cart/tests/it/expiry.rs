//! The contract of [`CartExpiry`](cart::ports::CartExpiry).

use std::time::Duration;

use cart::{
    app::expiry::delete_expired,
    domain::{Cart, CheckoutId, HoldOutcome, HoldRequest, UserId},
    ports::CartStore,
};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, Tasks};
use testing::{MongoFixture, SqliteFixture};
use uuid::Uuid;

use crate::{
    fixtures::StoreFixture,
    support::{MINUTE, SECOND, cart_of, quantity_of},
};

testing::contract! { expiry_contract:
    a_cart_expires_90_days_after_its_last_change,
    a_cart_with_holds_does_not_expire,
    two_concurrent_runs_count_each_deleted_cart_once,
    a_wrong_clock_deletes_no_recent_cart,
}

expiry_contract!(sqlite: SqliteFixture, mongo: MongoFixture);

const DAY: Duration = Duration::from_hours(24);

/// A cart whose last change was `age` before `now`.
fn cart_of_age(user: &str, age: Duration, now: Timestamp) -> Cart {
    Cart {
        updated_at: Some(now - age),
        ..cart_of(&UserId::new(user).unwrap(), 1)
    }
}

async fn delete_expired_at(fixture: &dyn StoreFixture, now: Timestamp) -> u64 {
    let carts = fixture.expiry().await;
    let clock = Clock::from_fn(move || now);
    delete_expired(carts.as_ref(), &clock, &Tasks::new()).await.unwrap()
}

async fn exists(store: &dyn CartStore, user: &str) -> bool {
    store.load(&UserId::new(user).unwrap()).await.unwrap().is_some()
}

async fn a_cart_expires_90_days_after_its_last_change(fixture: &dyn StoreFixture) {
    let (store, now) = (fixture.open().await, Clock::system().now());
    let carts = [
        ("new", Duration::ZERO, true),
        ("young", 89 * DAY + 1439 * MINUTE, true),
        ("old", 90 * DAY + SECOND, false),
        ("ancient", 1000 * DAY, false),
    ];
    for (user, age, _) in carts {
        store.save(&cart_of_age(user, age, now), None).await.unwrap();
    }
    delete_expired_at(fixture, now).await;
    for (user, _, kept) in carts {
        assert_eq!(exists(store.as_ref(), user).await, kept, "{user}");
    }
    assert_eq!(delete_expired_at(fixture, now).await, 0);
}

async fn a_cart_with_holds_does_not_expire(fixture: &dyn StoreFixture) {
    let (store, now) = (fixture.open().await, Clock::system().now());
    let mut cart = cart_of_age("u", 1000 * DAY, now);
    let request = HoldRequest {
        checkout: CheckoutId(Uuid::from_u128(1)),
        cart: cart.id,
        cart_version: cart.version,
        pieces: vec![quantity_of(1, 1)],
    };
    assert_eq!(cart.hold(&request), HoldOutcome::Held);
    store.save(&cart, None).await.unwrap();
    assert_eq!(delete_expired_at(fixture, now).await, 0);
    let kept = store.load(&cart.user).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&cart));
    // Without holds the age of the cart counts again.
    let (version, mut free) = (cart.version, cart);
    free.give_back(CheckoutId(Uuid::from_u128(1))).unwrap();
    free.version = version.next();
    store.save(&free, Some(version)).await.unwrap();
    delete_expired_at(fixture, now).await;
    assert!(!exists(store.as_ref(), "u").await);
}

async fn two_concurrent_runs_count_each_deleted_cart_once(fixture: &dyn StoreFixture) {
    let (store, now) = (fixture.open().await, Clock::system().now());
    // More than one batch, and only just expired, so that a TTL index hardly deletes any first.
    let carts: Vec<_> = (0..1201)
        .map(|n| cart_of_age(&n.to_string(), 90 * DAY + SECOND, now))
        .collect();
    join_all(carts.iter().map(async |cart| store.save(cart, None).await.unwrap())).await;
    let deleted = tokio::join!(delete_expired_at(fixture, now), delete_expired_at(fixture, now));
    assert!(deleted.0 + deleted.1 <= 1201, "{deleted:?}");
    for user in ["0", "600", "1200"] {
        assert!(!exists(store.as_ref(), user).await, "{user}");
    }
    assert_eq!(delete_expired_at(fixture, now).await, 0);
}

async fn a_wrong_clock_deletes_no_recent_cart(fixture: &dyn StoreFixture) {
    let (store, now) = (fixture.open().await, Clock::system().now());
    store.save(&cart_of_age("u", DAY, now), None).await.unwrap();
    for days in [100, 10_000, -10_000] {
        assert_eq!(
            delete_expired_at(fixture, now + SignedDuration::from_hours(24 * days)).await,
            0
        );
    }
    assert!(exists(store.as_ref(), "u").await);
}
