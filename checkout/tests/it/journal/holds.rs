//! Sagas of machine version 1, which began before carts had holds.

use std::time::Duration;

use checkout::{
    domain::{CartRef, CheckoutId, UserId},
    ports::CheckoutWithoutHold,
    saga::{Data, State},
};
use saga::{Claimed, SagaId, State as _};

use super::fixture::{Stores, Tables, Version1Saga, begun, steps};
use crate::sagas::{HOUR, lease};

/// Longer than a completed checkout without a hold blocks its user.
const EIGHT_DAYS: Duration = Duration::from_hours(8 * 24);

pub(super) async fn a_saga_of_version_1_is_read_and_driven_on(fixture: &dyn Stores) {
    let Tables { journal, .. } = fixture.open().await;
    for (state, goes_on) in [
        ("INITIATED", State::InventoryReserved),
        ("INVENTORY_RESERVED", State::CartHeld),
        ("PAYMENT_PENDING", State::PaymentCompleted),
        ("PAYMENT_COMPLETED", State::Completed),
    ] {
        let id = fixture.store_version_1(&Version1Saga::new(state, state)).await;
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

pub(super) async fn the_migration_keeps_sagas_of_version_1(fixture: &dyn Stores) {
    drop(fixture.open_before_holds().await);
    let states = ["PAYMENT_PENDING", "COMPLETED", "RELEASING", "FAILED"];
    let mut stored = Vec::new();
    for state in states {
        stored.push(fixture.store_version_1(&Version1Saga::new(state, state)).await);
    }
    // User "two" has two sagas from one cart, of which one may be charged; user "alone" has one.
    let first = Version1Saga {
        user: "two",
        ..Version1Saga::new("first", "PAYMENT_COMPLETED")
    };
    fixture.store_version_1(&first).await;
    let second = Version1Saga {
        user: "two",
        ..Version1Saga::new("second", "INITIATED")
    };
    let alone = Version1Saga {
        user: "alone",
        ..second
    };
    let second = fixture.store_version_1(&second).await;
    let alone = fixture.store_version_1(&alone).await;
    let Tables { journal, .. } = fixture.open().await;
    for (id, version) in [(second, 0), (alone, 7)] {
        let (found, _) = journal.get(SagaId(id.0), None).await.unwrap().unwrap();
        assert_eq!(found.data.purchase.cart, CartRef { id: None, version });
    }
    for (id, state) in stored.into_iter().zip(states) {
        let (found, history) = journal.get(SagaId(id.0), None).await.unwrap().unwrap();
        assert_eq!((found.state.name(), found.data.held, history.len()), (state, false, 1));
        assert_eq!(found.data.purchase.cart, CartRef { id: None, version: 7 });
    }
    let due = journal.claim_due(&lease("me", HOUR), 10).await.unwrap();
    assert_eq!(due.len(), 5, "recovery claims the unfinished sagas");
}

/// The checkout that blocks a new one of this user from a cart of this version, and whether it is final.
async fn blocking(tables: &Tables, user: &str, version: i64) -> Option<(CheckoutId, bool)> {
    let user = UserId::new(user).unwrap();
    let found = tables.records.without_hold(&user, version).await;
    found
        .unwrap()
        .map(|CheckoutWithoutHold { id, is_final }| (id, is_final))
}

pub(super) async fn an_unfinished_checkout_without_a_hold_blocks_its_user(fixture: &dyn Stores) {
    let tables = fixture.open().await;
    for state in [
        "INITIATED",
        "INVENTORY_RESERVED",
        "PAYMENT_PENDING",
        "PAYMENT_COMPLETED",
    ] {
        // At any age, and at any version of the cart.
        let saga = Version1Saga {
            user: state,
            age: EIGHT_DAYS,
            ..Version1Saga::new("old", state)
        };
        let id = fixture.store_version_1(&saga).await;
        for version in [7, 8] {
            assert_eq!(
                blocking(&tables, state, version).await,
                Some((id, false)),
                "{state}, {version}"
            );
        }
        assert_eq!(blocking(&tables, "somebody else", 7).await, None, "{state}");
    }
}

pub(super) async fn a_completed_checkout_without_a_hold_blocks_its_user_until_the_cart_changes(fixture: &dyn Stores) {
    let tables = fixture.open().await;
    let saga = Version1Saga::new("old", "COMPLETED");
    let id = fixture.store_version_1(&saga).await;
    for version in [6, 7] {
        assert_eq!(
            blocking(&tables, "user-1", version).await,
            Some((id, true)),
            "{version}"
        );
    }
    assert_eq!(blocking(&tables, "user-1", 8).await, None);
    // After seven days its event counts as read.
    let old = Version1Saga {
        user: "user-2",
        age: EIGHT_DAYS,
        ..saga
    };
    fixture.store_version_1(&old).await;
    assert_eq!(blocking(&tables, "user-2", 7).await, None);
}

pub(super) async fn an_unfinished_checkout_is_named_before_a_completed_one(fixture: &dyn Stores) {
    let tables = fixture.open().await;
    fixture.store_version_1(&Version1Saga::new("ended", "COMPLETED")).await;
    let id = fixture
        .store_version_1(&Version1Saga::new("running", "PAYMENT_PENDING"))
        .await;
    fixture
        .store_version_1(&Version1Saga::new("ended, too", "COMPLETED"))
        .await;
    assert_eq!(blocking(&tables, "user-1", 7).await, Some((id, false)));
}

pub(super) async fn a_checkout_with_a_hold_or_without_pieces_blocks_nobody(fixture: &dyn Stores) {
    let tables = fixture.open().await;
    for state in ["RELEASING", "REFUNDING", "FAILED"] {
        fixture.store_version_1(&Version1Saga::new(state, state)).await;
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
    assert_eq!(blocking(&tables, "user-1", 7).await, None);
}
