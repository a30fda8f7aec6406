//! How carts go that nobody has changed for 90 days, in every store.

use std::time::Duration;

use cart::{
    app::expiry::sweep,
    domain::{Cart, CheckoutId, Held, UserId, Wanted},
    ports::CartStore,
};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, Tasks};
use testing::{MongoFixture, SqliteFixture};
use uuid::Uuid;

use crate::{
    places::Stores,
    support::{MINUTE, SECOND, bought, cart_of},
};

testing::contract! { old_carts:
    a_sweep_drops_what_nobody_has_changed_for_90_days,
    a_cart_of_which_a_checkout_holds_pieces_stays,
    two_sweeps_at_once_drop_as_many_as_there_are,
    a_machine_whose_clock_is_wrong_drops_nothing_that_is_not_old,
}

old_carts!(sqlite: SqliteFixture, mongo: MongoFixture);

const DAY: Duration = Duration::from_hours(24);

/// The cart of somebody who changed it last so long before `now`.
fn cart_of_age(user: &str, age: Duration, now: Timestamp) -> Cart {
    Cart {
        updated_at: Some(now - age),
        ..cart_of(&UserId::new(user).unwrap(), 1)
    }
}

/// Sweeps, by a clock that stands still.
async fn sweep_at(fixture: &dyn Stores, now: Timestamp) -> u64 {
    let carts = fixture.old_carts().await;
    let clock = Clock::from_fn(move || now);
    sweep(carts.as_ref(), &clock, &Tasks::new()).await.unwrap()
}

async fn is_there(store: &dyn CartStore, user: &str) -> bool {
    store.load(&UserId::new(user).unwrap()).await.unwrap().is_some()
}

async fn a_sweep_drops_what_nobody_has_changed_for_90_days(fixture: &dyn Stores) {
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
    sweep_at(fixture, now).await;
    for (user, _, kept) in carts {
        assert_eq!(is_there(store.as_ref(), user).await, kept, "{user}");
    }
    assert_eq!(sweep_at(fixture, now).await, 0);
}

async fn a_cart_of_which_a_checkout_holds_pieces_stays(fixture: &dyn Stores) {
    let (store, now) = (fixture.open().await, Clock::system().now());
    let mut cart = cart_of_age("u", 1000 * DAY, now);
    let wanted = Wanted {
        checkout: CheckoutId(Uuid::from_u128(1)),
        cart: cart.id,
        frozen_at: cart.version,
        pieces: vec![bought(1, 1)],
    };
    assert_eq!(cart.hold(&wanted), Held::Done);
    store.save(&cart, None).await.unwrap();
    assert_eq!(sweep_at(fixture, now).await, 0);
    let kept = store.load(&cart.user).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&cart));
    // Once nothing is held, it is as old as it is.
    let (base, mut free) = (cart.version, cart);
    free.give_back(CheckoutId(Uuid::from_u128(1))).unwrap();
    free.version = base.next();
    store.save(&free, Some(base)).await.unwrap();
    sweep_at(fixture, now).await;
    assert!(!is_there(store.as_ref(), "u").await);
}

async fn two_sweeps_at_once_drop_as_many_as_there_are(fixture: &dyn Stores) {
    let (store, now) = (fixture.open().await, Clock::system().now());
    // More than one batch, and not so old that a server drops them before the sweeps do.
    let carts: Vec<_> = (0..1201)
        .map(|n| cart_of_age(&n.to_string(), 90 * DAY + SECOND, now))
        .collect();
    join_all(carts.iter().map(async |cart| store.save(cart, None).await.unwrap())).await;
    let dropped = tokio::join!(sweep_at(fixture, now), sweep_at(fixture, now));
    assert!(dropped.0 + dropped.1 <= 1201, "{dropped:?}");
    for user in ["0", "600", "1200"] {
        assert!(!is_there(store.as_ref(), user).await, "{user}");
    }
    assert_eq!(sweep_at(fixture, now).await, 0);
}

async fn a_machine_whose_clock_is_wrong_drops_nothing_that_is_not_old(fixture: &dyn Stores) {
    let (store, now) = (fixture.open().await, Clock::system().now());
    store.save(&cart_of_age("u", DAY, now), None).await.unwrap();
    for days in [100, 10_000, -10_000] {
        assert_eq!(sweep_at(fixture, now + SignedDuration::from_hours(24 * days)).await, 0);
    }
    assert!(is_there(store.as_ref(), "u").await);
}
