//! The contract of the cart store.

use std::sync::Arc;

use cart::{
    app::CartError,
    domain::{
        Added, AppliedCall, AppliedCalls, AppliedEvents, CallId, Cart, CheckoutId, EventId, HoldOutcome, HoldRequest,
        IdempotencyKey, UsedKey, UserId, Version,
    },
    ports::{CartStore, Saved},
};
use money::{Currency, Money};
use testing::{MongoFixture, SqliteFixture};
use uuid::Uuid;

use crate::{
    fixtures::StoreFixture,
    support::{cart_of, carts, in_2100, large_cart, memory_cache, offer, pieces, quantity_of, user},
};

testing::contract! { store_contract:
    a_cart_that_was_never_saved_is_missing,
    a_saved_cart_is_loaded,
    a_cart_with_holds_is_loaded,
    a_second_insert_conflicts,
    only_the_expected_version_is_replaced,
    a_missing_cart_is_not_replaced,
    an_erasure_deletes_one_cart_only,
    customers_do_not_meet,
    a_cart_of_2_mb_is_saved,
    a_cancelled_save_is_done_or_not_done,
    each_of_64_racing_writes_counts_once,
    of_64_racing_checkouts_one_holds,
    carts_outlive_a_restart,
}

store_contract!(sqlite: SqliteFixture, mongo: MongoFixture);

async fn a_cart_that_was_never_saved_is_missing(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    assert_eq!(store.load(&user()).await.unwrap(), None);
    assert!(store.is_up().await);
}

async fn a_saved_cart_is_loaded(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let mut cart = cart_of(&user(), 1);
    let euro: Currency = "EUR".parse().unwrap();
    cart.lines[0].price = Money::new(Money::MAX_MINOR_UNITS, euro);
    cart.applied = AppliedEvents::restore(Some(event(3)), (4..200).map(event));
    let answers = [(1, Some(Added::NewLine)), (2, Some(Added::ExistingLine)), (3, None)];
    let calls = answers.map(|(n, added)| AppliedCall {
        id: CallId(Uuid::from_u128(n)),
        fingerprint: added.map(|_| "add 1 1".to_owned()),
        added,
    });
    let key = UsedKey {
        key: IdempotencyKey::new("ключ").unwrap(),
        fingerprint: "add 1 1".to_owned(),
        at: in_2100(),
    };
    cart.calls = AppliedCalls::restore(calls, [key]);
    assert_eq!(store.save(&cart, None).await.unwrap(), Saved::Done);
    assert_eq!(store.load(&user()).await.unwrap(), Some(cart));
}

async fn a_cart_with_holds_is_loaded(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let mut cart = cart_of(&user(), 5);
    cart.add(offer(2), pieces(3), in_2100()).unwrap();
    for (n, id) in [(1, 1), (2, 2)] {
        let request = HoldRequest {
            checkout: CheckoutId(Uuid::from_u128(n)),
            cart: cart.id,
            cart_version: Version(9),
            pieces: vec![quantity_of(id, 2)],
        };
        assert_eq!(cart.hold(&request), HoldOutcome::Held);
    }
    assert_eq!(store.save(&cart, None).await.unwrap(), Saved::Done);
    assert_eq!(store.load(&user()).await.unwrap().as_ref(), Some(&cart));
    cart.version = cart.version.next();
    cart.give_back(CheckoutId(Uuid::from_u128(1))).unwrap();
    cart.drop_hold(CheckoutId(Uuid::from_u128(2)));
    assert_eq!(store.save(&cart, Some(Version(5))).await.unwrap(), Saved::Done);
    assert_eq!(store.load(&user()).await.unwrap(), Some(cart));
}

async fn of_64_racing_checkouts_one_holds(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let cart = cart_of(&user(), 3);
    store.save(&cart, None).await.unwrap();
    let mut checkouts = tokio::task::JoinSet::new();
    for n in 0..64_u128 {
        let carts = carts(store.clone(), memory_cache());
        let request = HoldRequest {
            checkout: CheckoutId(Uuid::from_u128(n)),
            cart: cart.id,
            cart_version: cart.version,
            pieces: vec![quantity_of(1, 1)],
        };
        checkouts.spawn(async move {
            loop {
                match carts.hold(user(), request.clone()).await {
                    Ok(_) => return true,
                    Err(CartError::HoldRefused) => return false,
                    Err(CartError::Contended) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let held = checkouts.join_all().await;
    assert_eq!(held.into_iter().filter(|held| *held).count(), 1);
    let cart = store.load(&user()).await.unwrap().unwrap();
    assert_eq!((cart.lines[0].quantity.get(), cart.holds.len()), (2, 1));
}

async fn a_second_insert_conflicts(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = cart_of(&user(), 1);
    assert_eq!(store.save(&first, None).await.unwrap(), Saved::Done);
    assert_eq!(store.save(&cart_of(&user(), 2), None).await.unwrap(), Saved::Conflict);
    assert_eq!(
        store.save(&first, None).await.unwrap(),
        Saved::Conflict,
        "the same call twice"
    );
    assert_eq!(store.load(&user()).await.unwrap(), Some(first));
}

async fn only_the_expected_version_is_replaced(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let versions: Vec<_> = (1..=3).map(|version| cart_of(&user(), version)).collect();
    store.save(&versions[0], None).await.unwrap();
    assert_eq!(store.save(&versions[1], Some(Version(1))).await.unwrap(), Saved::Done);
    for stale in [Version(0), Version(1), Version(3)] {
        assert_eq!(
            store.save(&versions[2], Some(stale)).await.unwrap(),
            Saved::Conflict,
            "{stale:?}"
        );
    }
    assert_eq!(store.load(&user()).await.unwrap().as_ref(), Some(&versions[1]));
}

async fn a_missing_cart_is_not_replaced(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    assert_eq!(
        store.save(&cart_of(&user(), 2), Some(Version(1))).await.unwrap(),
        Saved::Conflict
    );
    assert_eq!(store.load(&user()).await.unwrap(), None);
}

async fn an_erasure_deletes_one_cart_only(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (ann, bob) = (UserId::new("ann").unwrap(), UserId::new("ann%").unwrap());
    for user in [&ann, &bob] {
        store.save(&cart_of(user, 3), None).await.unwrap();
    }
    assert!(store.erase(&ann).await.unwrap());
    assert!(!store.erase(&ann).await.unwrap(), "the cart is gone");
    assert_eq!(store.load(&ann).await.unwrap(), None);
    // A writer that loaded the cart before the erasure does not restore it.
    let late = store.save(&cart_of(&ann, 4), Some(Version(3))).await.unwrap();
    assert_eq!(late, Saved::Conflict);
    assert_eq!(store.load(&bob).await.unwrap(), Some(cart_of(&bob, 3)));
    // The id may be used again, by a new customer.
    assert_eq!(store.save(&cart_of(&ann, 1), None).await.unwrap(), Saved::Done);
}

async fn customers_do_not_meet(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let users = ["a", "A", "a ", "é", "%", "'; DROP TABLE carts; --"].map(|user| UserId::new(user).unwrap());
    for user in &users {
        assert_eq!(store.save(&cart_of(user, 1), None).await.unwrap(), Saved::Done);
    }
    for user in &users {
        assert_eq!(store.load(user).await.unwrap(), Some(cart_of(user, 1)));
    }
}

async fn a_cart_of_2_mb_is_saved(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let cart = large_cart(&user());
    store.save(&cart, None).await.unwrap();
    assert_eq!(store.load(&user()).await.unwrap(), Some(cart));
}

async fn a_cancelled_save_is_done_or_not_done(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    for version in 1..=20 {
        let expected = (version > 1).then_some(Version(version - 1));
        let cart = cart_of(&user(), version);
        {
            let save = store.save(&cart, expected);
            tokio::pin!(save);
            // Started, then dropped.
            let _ = futures::poll!(save.as_mut());
        }
        // Saves the cart unless the dropped save did.
        store.save(&cart, expected).await.unwrap();
        assert_eq!(store.load(&user()).await.unwrap(), Some(cart));
    }
}

async fn each_of_64_racing_writes_counts_once(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let at = in_2100();
    let write = |store: Arc<dyn CartStore>| async move {
        loop {
            let stored = store.load(&user()).await.unwrap();
            let expected = stored.as_ref().map(|cart| cart.version);
            let mut cart = stored.unwrap_or_else(|| Cart::new(user()));
            cart.add(offer(1), pieces(1), at).unwrap();
            cart.bump_version(cart::domain::CartId(Uuid::from_u128(1)), at);
            if store.save(&cart, expected).await.unwrap() == Saved::Done {
                return;
            }
        }
    };
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        writers.spawn(write(store.clone()));
    }
    writers.join_all().await;
    let cart = store.load(&user()).await.unwrap().unwrap();
    assert_eq!((cart.version, cart.lines[0].quantity.get()), (Version(64), 64));
}

async fn carts_outlive_a_restart(fixture: &dyn StoreFixture) {
    let cart = cart_of(&user(), 1);
    fixture.open().await.save(&cart, None).await.unwrap();
    let store = fixture.open().await;
    assert_eq!(store.load(&user()).await.unwrap(), Some(cart));
    assert_eq!(
        store.save(&cart_of(&user(), 2), Some(Version(1))).await.unwrap(),
        Saved::Done
    );
}

fn event(n: u128) -> EventId {
    EventId(Uuid::from_u128(n))
}
