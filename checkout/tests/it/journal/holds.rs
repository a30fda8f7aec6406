//! Sagas that were begun before carts had holds.

use std::time::Duration;

use checkout::{
    domain::{CartRef, CheckoutId, UserId},
    ports::Unheld,
    saga::{Data, State},
};
use saga::{Claimed, SagaId, State as _};

use super::fixture::{HOUR, Old, Stores, Tables, begun, lease, steps};

/// Longer than a completed checkout without a hold is in the way of others.
const EIGHT_DAYS: Duration = Duration::from_hours(8 * 24);

pub(super) async fn a_row_of_before_is_read_and_goes_on_without_a_hold(fixture: &dyn Stores) {
    let Tables { journal, .. } = fixture.open().await;
    for (state, goes_on) in [
        ("INITIATED", State::InventoryReserved),
        ("INVENTORY_RESERVED", State::CartHeld),
        ("PAYMENT_PENDING", State::PaymentCompleted),
        ("PAYMENT_COMPLETED", State::Completed),
    ] {
        let id = fixture.leave_as_before(&Old::new(state, state)).await;
        let found = journal.find("user-1", state).await.unwrap().unwrap();
        assert_eq!((found.id.0, found.state.name(), found.data.held), (id.0, state, false));
        assert_eq!(found.data.purchase.cart, CartRef { id: None, version: 7 });
        let claimed = journal.claim_due(&lease("me", HOUR), 10).await.unwrap().remove(0);
        assert_eq!(claimed.saga, found);
        let data = Data {
            held: goes_on == State::CartHeld,
            ..found.data
        };
        let record = steps(data.clone(), [goes_on.clone()]);
        journal.record(&claimed, &record, &lease("me", HOUR)).await.unwrap();
        let (saga, _) = journal.get(found.id, None).await.unwrap().unwrap();
        assert_eq!((saga.state, saga.data), (goes_on, data));
    }
}

pub(super) async fn what_was_stored_before_carts_had_holds_is_there_after_the_migration(fixture: &dyn Stores) {
    drop(fixture.open_before_holds().await);
    let states = ["PAYMENT_PENDING", "COMPLETED", "RELEASING", "FAILED"];
    let mut left = Vec::new();
    for state in states {
        left.push(fixture.leave_as_before(&Old::new(state, state)).await);
    }
    // Of these two, one may be charged already; the third is alone.
    let first = Old {
        user: "two",
        ..Old::new("first", "PAYMENT_COMPLETED")
    };
    fixture.leave_as_before(&first).await;
    let second = Old {
        user: "two",
        ..Old::new("second", "INITIATED")
    };
    let alone = Old {
        user: "alone",
        ..second
    };
    let second = fixture.leave_as_before(&second).await;
    let alone = fixture.leave_as_before(&alone).await;
    let Tables { journal, .. } = fixture.open().await;
    for (id, version) in [(second, 0), (alone, 7)] {
        let (found, _) = journal.get(SagaId(id.0), None).await.unwrap().unwrap();
        assert_eq!(found.data.purchase.cart, CartRef { id: None, version });
    }
    for (id, state) in left.into_iter().zip(states) {
        let (found, history) = journal.get(SagaId(id.0), None).await.unwrap().unwrap();
        assert_eq!((found.state.name(), found.data.held, history.len()), (state, false, 1));
        assert_eq!(found.data.purchase.cart, CartRef { id: None, version: 7 });
    }
    let due = journal.claim_due(&lease("me", HOUR), 10).await.unwrap();
    assert_eq!(due.len(), 5, "what has not ended is taken up");
}

/// What is in the way of a new saga of this user, from a cart of this version: which one, and whether it has ended.
async fn in_the_way(tables: &Tables, user: &str, version: i64) -> Option<(CheckoutId, bool)> {
    let unheld = tables
        .records
        .unheld(&UserId::new(user.to_owned()).unwrap(), version)
        .await;
    unheld.unwrap().map(|Unheld { by, has_ended }| (by, has_ended))
}

pub(super) async fn what_may_take_pieces_that_it_does_not_hold_is_in_the_way(fixture: &dyn Stores) {
    let tables = fixture.open().await;
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
            assert_eq!(
                in_the_way(&tables, state, version).await,
                Some((id, false)),
                "{state}, {version}"
            );
        }
        assert_eq!(in_the_way(&tables, "somebody else", 7).await, None, "{state}");
    }
}

pub(super) async fn what_took_pieces_without_a_hold_is_in_the_way_until_the_cart_has_changed(fixture: &dyn Stores) {
    let tables = fixture.open().await;
    let old = Old::new("old", "COMPLETED");
    let id = fixture.leave_as_before(&old).await;
    for version in [6, 7] {
        assert_eq!(
            in_the_way(&tables, "user-1", version).await,
            Some((id, true)),
            "{version}"
        );
    }
    assert_eq!(in_the_way(&tables, "user-1", 8).await, None);
    // Long ago its event has reached the cart, or never will.
    let old = Old {
        user: "user-2",
        age: EIGHT_DAYS,
        ..old
    };
    fixture.leave_as_before(&old).await;
    assert_eq!(in_the_way(&tables, "user-2", 7).await, None);
}

pub(super) async fn one_that_has_not_ended_is_named_before_one_that_has(fixture: &dyn Stores) {
    let tables = fixture.open().await;
    fixture.leave_as_before(&Old::new("ended", "COMPLETED")).await;
    let id = fixture.leave_as_before(&Old::new("running", "PAYMENT_PENDING")).await;
    fixture.leave_as_before(&Old::new("ended, too", "COMPLETED")).await;
    assert_eq!(in_the_way(&tables, "user-1", 7).await, Some((id, false)));
}

pub(super) async fn what_holds_its_pieces_or_takes_none_is_in_nobodys_way(fixture: &dyn Stores) {
    let tables = fixture.open().await;
    for state in ["RELEASING", "REFUNDING", "FAILED"] {
        fixture.leave_as_before(&Old::new(state, state)).await;
    }
    let journal = tables.journal.as_ref();
    for state in [State::PaymentPending, State::PaymentCompleted, State::Completed] {
        let Claimed { saga, fence } = begun(journal, &format!("{} with a hold", state.name()), HOUR).await;
        let held = Data {
            held: true,
            ..saga.data.clone()
        };
        let claimed = Claimed { saga, fence };
        let record = steps(held, [State::CartHeld, state]);
        journal.record(&claimed, &record, &lease("me", HOUR)).await.unwrap();
    }
    assert_eq!(in_the_way(&tables, "user-1", 7).await, None);
}
