//! Holds on carts, and sagas that were begun before carts had any.

use std::time::Duration;

use checkout::{
    domain::{CartRef, Checkout, CheckoutId, Purchase, Request},
    ports::{Begun, Journal, Record},
    saga::State,
};

use super::fixture::{
    CART, Fixture, HOUR, Old, PostgresFixture, SqliteFixture, begun, checkout, driven, lease, request, steps,
};

/// Longer than a completed checkout without a hold is in the way of others.
const EIGHT_DAYS: Duration = Duration::from_hours(8 * 24);

pub(super) async fn a_hold_is_remembered_from_its_step_on(fixture: impl Fixture) {
    let journal = fixture.journal();
    let began = begun(journal.as_ref(), "k", HOUR).await;
    let id = began.checkout.id;
    assert!(!began.checkout.held);
    let held = Record {
        held: true,
        ..steps([State::InventoryReserved, State::CartHeld, State::PaymentPending])
    };
    let held = driven(journal.as_ref(), began, &held).await;
    assert!(held.checkout.held);
    // Whoever writes on need not know of it.
    let paid = Record {
        held: false,
        ..steps([State::PaymentCompleted])
    };
    let paid = driven(journal.as_ref(), held, &paid).await;
    assert_eq!((paid.checkout.held, paid.checkout.purchase.cart), (true, CART));
    drop(journal);
    let fixture = fixture.reopened().await;
    let (found, _) = fixture.journal().get(id, None).await.unwrap().unwrap();
    assert_eq!(found, paid.checkout);
}

pub(super) async fn a_row_of_before_is_read_and_goes_on_without_a_hold(fixture: impl Fixture) {
    let journal = fixture.journal();
    for (state, goes_on) in [
        ("INITIATED", State::InventoryReserved),
        ("INVENTORY_RESERVED", State::CartHeld),
        ("PAYMENT_PENDING", State::PaymentCompleted),
        ("PAYMENT_COMPLETED", State::Completed),
    ] {
        let id = fixture.leave_as_before(&Old::new(state, state)).await;
        let of_before = request("user-1", state);
        let found = journal.find(&of_before.user, &of_before.key).await.unwrap().unwrap();
        assert_eq!((found.id, found.state.name(), found.held), (id, state, false));
        assert_eq!(found.purchase.cart, CartRef { id: None, version: 7 });
        let claimed = journal.claim_due(&lease("me", HOUR), 10).await.unwrap().remove(0);
        assert_eq!(claimed.checkout, found);
        let record = Record {
            held: goes_on == State::CartHeld,
            ..steps([goes_on.clone()])
        };
        let gone_on = driven(journal.as_ref(), claimed, &record).await.checkout;
        assert_eq!((gone_on.state, gone_on.held), (goes_on, record.held));
    }
}

async fn assert_migrated(fixture: impl Fixture) {
    let states = ["PAYMENT_PENDING", "COMPLETED", "RELEASING", "FAILED"];
    let mut left = Vec::new();
    for state in states {
        left.push(fixture.leave_as_before(&Old::new(state, state)).await);
    }
    // Of these two, one may be charged already; the third is alone.
    let of_two = Old {
        user: "two",
        ..Old::new("first", "PAYMENT_COMPLETED")
    };
    fixture.leave_as_before(&of_two).await;
    let of_two = Old {
        user: "two",
        ..Old::new("second", "INITIATED")
    };
    let alone = Old {
        user: "alone",
        ..of_two
    };
    let (second, alone) = (
        fixture.leave_as_before(&of_two).await,
        fixture.leave_as_before(&alone).await,
    );
    let fixture = fixture.reopened().await;
    let journal = fixture.journal();
    for (id, version) in [(second, 0), (alone, 7)] {
        let (found, _) = journal.get(id, None).await.unwrap().unwrap();
        assert_eq!(found.purchase.cart, CartRef { id: None, version });
    }
    for (id, state) in left.into_iter().zip(states) {
        let (found, history) = journal.get(id, None).await.unwrap().unwrap();
        assert_eq!((found.state.name(), found.held, history.len()), (state, false, 1));
        assert_eq!(found.purchase.cart, CartRef { id: None, version: 7 });
    }
    let due = journal.claim_due(&lease("me", HOUR), 10).await.unwrap();
    assert_eq!(due.len(), 5, "what has not ended is taken up");
}

#[tokio::test]
async fn what_was_stored_before_carts_had_holds_is_there_after_the_migration() {
    assert_migrated(SqliteFixture::new_before().await.unwrap()).await;
    if let Some(fixture) = PostgresFixture::new_before().await {
        assert_migrated(fixture).await;
    }
}

/// What becomes of a new saga of this user, from a cart of this version.
async fn begin(journal: &dyn Journal, request: &Request, version: i64) -> Begun {
    let new = checkout(request);
    let new = Checkout {
        purchase: Purchase {
            cart: CartRef { version, ..CART },
            ..new.purchase
        },
        ..new
    };
    let begun = journal.begin(&new, request, &lease("me", HOUR)).await.unwrap();
    let is_stored = journal.get(new.id, None).await.unwrap().is_some();
    assert_eq!(is_stored, matches!(begun, Begun::Created(_)), "{begun:?}");
    begun
}

fn unheld(begun: &Begun) -> Option<(CheckoutId, bool)> {
    match begun {
        Begun::Unheld { by, has_ended } => Some((*by, *has_ended)),
        Begun::Created(_) => None,
        Begun::Exists(known) => panic!("the key is taken by {known:?}"),
    }
}

pub(super) async fn what_may_take_pieces_that_it_does_not_hold_is_waited_for(fixture: impl Fixture) {
    let journal = fixture.journal();
    for state in [
        "INITIATED",
        "INVENTORY_RESERVED",
        "PAYMENT_PENDING",
        "PAYMENT_COMPLETED",
    ] {
        // However old it is, and whatever version the cart has by now.
        let old = Old {
            user: state,
            age: EIGHT_DAYS,
            ..Old::new("old", state)
        };
        let id = fixture.leave_as_before(&old).await;
        for version in [7, 8] {
            let begun = begin(journal.as_ref(), &request(state, "new"), version).await;
            assert_eq!(unheld(&begun), Some((id, false)), "{state}, {version}");
        }
        let known = begin(journal.as_ref(), &request(state, "old"), 7).await;
        assert!(
            matches!(&known, Begun::Exists(known) if known.id == id),
            "its own key comes first: {known:?}"
        );
        let other = begin(journal.as_ref(), &request("somebody else", state), 7).await;
        assert_eq!(unheld(&other), None, "{state}");
    }
}

pub(super) async fn what_took_pieces_without_a_hold_is_waited_for_until_the_cart_has_changed(fixture: impl Fixture) {
    let journal = fixture.journal();
    let old = Old::new("old", "COMPLETED");
    let id = fixture.leave_as_before(&old).await;
    for version in [6, 7] {
        let begun = begin(journal.as_ref(), &request("user-1", "new"), version).await;
        assert_eq!(unheld(&begun), Some((id, true)), "{version}");
    }
    let known = begin(journal.as_ref(), &request("user-1", "old"), 7).await;
    assert!(matches!(known, Begun::Exists(_)), "{known:?}");
    let begun = begin(journal.as_ref(), &request("user-1", "new"), 8).await;
    assert_eq!(unheld(&begun), None);
    // Long ago its event has reached the cart, or never will.
    let old = Old {
        user: "user-2",
        age: EIGHT_DAYS,
        ..old
    };
    fixture.leave_as_before(&old).await;
    let begun = begin(journal.as_ref(), &request("user-2", "new"), 7).await;
    assert_eq!(unheld(&begun), None);
}

pub(super) async fn one_that_has_not_ended_is_named_before_one_that_has(fixture: impl Fixture) {
    let journal = fixture.journal();
    fixture.leave_as_before(&Old::new("ended", "COMPLETED")).await;
    let id = fixture.leave_as_before(&Old::new("running", "PAYMENT_PENDING")).await;
    fixture.leave_as_before(&Old::new("ended, too", "COMPLETED")).await;
    let begun = begin(journal.as_ref(), &request("user-1", "new"), 7).await;
    assert_eq!(unheld(&begun), Some((id, false)));
}

pub(super) async fn what_holds_its_pieces_or_takes_none_is_in_nobodys_way(fixture: impl Fixture) {
    let journal = fixture.journal();
    for state in ["RELEASING", "REFUNDING", "FAILED"] {
        fixture.leave_as_before(&Old::new(state, state)).await;
    }
    for state in [State::PaymentPending, State::PaymentCompleted, State::Completed] {
        let mut held = begun(journal.as_ref(), &format!("{} with a hold", state.name()), HOUR).await;
        held = driven(journal.as_ref(), held, &steps([State::CartHeld])).await;
        driven(journal.as_ref(), held, &steps([state])).await;
    }
    let begun = begin(journal.as_ref(), &request("user-1", "new"), 7).await;
    assert_eq!(unheld(&begun), None);
}
