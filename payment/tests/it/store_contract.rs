//! The contract of the payment store, over all adapters.

use std::{collections::HashSet, sync::Arc};

use futures::future::join_all;
use jiff::Timestamp;
use money::Money;
use payment::{
    domain::{
        self,
        ChargeStatus::{self, Cancelled, Charged, Declined, Refunded},
        CheckoutId, DeclineReason, Payment, PaymentDetails, PaymentId, PaymentMethod, State, Terms,
    },
    ports::PaymentStore,
};
use runtime::Ids;
use storage::StoreError;
use testing::SqliteFixture;

use crate::{
    fixtures::{PostgresFixtures, StoreFixture},
    harness::{checkout, terms},
};

testing::contract! { store_contract:
    an_intent_is_loaded_as_it_was_recorded,
    the_first_intent_of_a_checkout_stands,
    a_payment_id_that_is_in_use_is_a_conflict,
    each_status_settles_an_intent_and_its_repetition_changes_nothing,
    each_status_in_each_state_follows_the_rules,
    a_charge_answer_after_the_refund_changes_nothing,
    a_charged_payment_is_refunded,
    a_contradiction_is_corrupt_and_changes_nothing,
    a_missing_payment_cannot_be_settled,
    a_refund_before_its_charge_leaves_a_tombstone_that_the_charge_finds,
    everything_is_there_after_a_reopen,
    one_replica_continues_what_another_began,
    of_64_concurrent_intents_one_is_recorded,
    concurrent_writers_of_64_checkouts_all_succeed,
    concurrent_settlements_and_refunds_end_refunded,
    concurrent_intents_and_tombstones_end_cancelled,
}

store_contract!(sqlite: SqliteFixture, postgres: PostgresFixtures);

/// Two processes on one fixture.
async fn replicas(fixture: &dyn StoreFixture) -> [Arc<dyn PaymentStore>; 2] {
    [fixture.store().await, fixture.store().await]
}

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn intent_of(checkout: CheckoutId, terms: Terms) -> Payment {
    Payment::intent(
        checkout,
        PaymentDetails {
            payment_id: PaymentId(Ids::random().next()),
            terms,
        },
        at(1_700_000_000_123),
    )
}

fn intent(checkout: CheckoutId) -> Payment {
    intent_of(checkout, terms(4200, "pm_card_ok"))
}

const STATUSES: [ChargeStatus; 4] = [Charged, Declined(DeclineReason::InsufficientFunds), Refunded, Cancelled];

async fn an_intent_is_loaded_as_it_was_recorded(fixture: &dyn StoreFixture) {
    let store = fixture.store().await;
    let most = Terms {
        amount: Money::new(i64::MAX, "JPY".parse().unwrap()),
        method: PaymentMethod::new("x".repeat(64)).unwrap(),
    };
    for terms in [terms(1, "p"), most] {
        let checkout = checkout();
        assert_eq!(store.load(checkout).await.unwrap(), None);
        let payment = intent_of(checkout, terms);
        assert_eq!(store.record_intent(&payment).await.unwrap(), payment);
        assert_eq!(store.load(checkout).await.unwrap(), Some(payment));
    }
}

async fn the_first_intent_of_a_checkout_stands(fixture: &dyn StoreFixture) {
    let (store, checkout) = (fixture.store().await, checkout());
    let first = intent(checkout);
    store.record_intent(&first).await.unwrap();
    assert_eq!(store.record_intent(&first).await.unwrap(), first);
    assert_eq!(
        store
            .record_intent(&intent_of(checkout, terms(1, "pm_other")))
            .await
            .unwrap(),
        first
    );
    assert_eq!(store.load(checkout).await.unwrap(), Some(first));
}

async fn a_payment_id_that_is_in_use_is_a_conflict(fixture: &dyn StoreFixture) {
    let (store, first) = (fixture.store().await, intent(checkout()));
    store.record_intent(&first).await.unwrap();
    let second = Payment {
        checkout_id: checkout(),
        ..first
    };
    assert!(matches!(store.record_intent(&second).await, Err(StoreError::Conflict)));
    assert_eq!(store.load(second.checkout_id).await.unwrap(), None);
}

async fn each_status_settles_an_intent_and_its_repetition_changes_nothing(fixture: &dyn StoreFixture) {
    let store = fixture.store().await;
    for status in STATUSES {
        let pending = intent(checkout());
        store.record_intent(&pending).await.unwrap();
        let settled = store.settle(pending.checkout_id, status, at(5)).await.unwrap();
        assert_ne!(settled.state, State::Intent);
        assert_eq!(
            settled,
            Payment {
                state: settled.state,
                ..pending.clone()
            }
        );
        assert_eq!(store.settle(pending.checkout_id, status, at(6)).await.unwrap(), settled);
        assert_eq!(
            store.record_refund(pending.checkout_id, status, at(7)).await.unwrap(),
            settled
        );
        assert_eq!(store.record_intent(&pending).await.unwrap(), settled);
        assert_eq!(store.load(pending.checkout_id).await.unwrap(), Some(settled));
    }
}

async fn each_status_in_each_state_follows_the_rules(fixture: &dyn StoreFixture) {
    let store = fixture.store().await;
    let firsts = STATUSES.map(Some).into_iter().chain([None]);
    for (first, second) in firsts.flat_map(|first| STATUSES.map(|second| (first, second))) {
        for is_refund in [false, true] {
            let pending = intent(checkout());
            let mut before = store.record_intent(&pending).await.unwrap();
            if let Some(first) = first {
                before = store.settle(pending.checkout_id, first, at(5)).await.unwrap();
            }
            let answer = if is_refund {
                store.record_refund(pending.checkout_id, second, at(6)).await
            } else {
                store.settle(pending.checkout_id, second, at(6)).await
            };
            let context = format!("{first:?}, then {second:?}, refund: {is_refund}");
            let expected = domain::next_state(Some(before.state), second);
            if let Ok(state) = expected {
                assert_eq!(answer.unwrap().state, state, "{context}");
            } else {
                assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{context}: {answer:?}");
            }
            let expected = expected.unwrap_or(before.state);
            let after = store.load(pending.checkout_id).await.unwrap().unwrap();
            assert_eq!(
                after,
                Payment {
                    state: expected,
                    ..pending
                },
                "{context}"
            );
        }
    }
}

async fn a_charge_answer_after_the_refund_changes_nothing(fixture: &dyn StoreFixture) {
    let (store, pending) = (fixture.store().await, intent(checkout()));
    store.record_intent(&pending).await.unwrap();
    let refunded = store.record_refund(pending.checkout_id, Refunded, at(5)).await.unwrap();
    assert_eq!(refunded.state, State::Refunded);
    assert_eq!(
        store.settle(pending.checkout_id, Charged, at(6)).await.unwrap(),
        refunded
    );
}

async fn a_charged_payment_is_refunded(fixture: &dyn StoreFixture) {
    let (store, pending) = (fixture.store().await, intent(checkout()));
    store.record_intent(&pending).await.unwrap();
    store.settle(pending.checkout_id, Charged, at(5)).await.unwrap();
    let refunded = store.record_refund(pending.checkout_id, Refunded, at(6)).await.unwrap();
    assert_eq!(
        refunded,
        Payment {
            state: State::Refunded,
            ..pending
        }
    );
}

async fn a_contradiction_is_corrupt_and_changes_nothing(fixture: &dyn StoreFixture) {
    let (store, pending) = (fixture.store().await, intent(checkout()));
    store.record_intent(&pending).await.unwrap();
    let charged = store.settle(pending.checkout_id, Charged, at(5)).await.unwrap();
    let result = store.record_refund(pending.checkout_id, Cancelled, at(6)).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    assert_eq!(store.load(pending.checkout_id).await.unwrap(), Some(charged));
}

async fn a_missing_payment_cannot_be_settled(fixture: &dyn StoreFixture) {
    let (store, checkout) = (fixture.store().await, checkout());
    let result = store.settle(checkout, Charged, at(5)).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    assert_eq!(store.load(checkout).await.unwrap(), None);
}

async fn a_refund_before_its_charge_leaves_a_tombstone_that_the_charge_finds(fixture: &dyn StoreFixture) {
    let (store, checkout) = (fixture.store().await, checkout());
    let tombstone = store.record_refund(checkout, Cancelled, at(5)).await.unwrap();
    let expected = Payment {
        checkout_id: checkout,
        details: None,
        state: State::Cancelled,
        created_at: at(5),
    };
    assert_eq!(tombstone, expected);
    assert_eq!(store.record_refund(checkout, Cancelled, at(6)).await.unwrap(), expected);
    assert_eq!(store.record_intent(&intent(checkout)).await.unwrap(), expected);
}

async fn everything_is_there_after_a_reopen(fixture: &dyn StoreFixture) {
    let (pending, settled, cancelled) = (intent(checkout()), intent(checkout()), checkout());
    let store = fixture.store().await;
    store.record_intent(&pending).await.unwrap();
    store.record_intent(&settled).await.unwrap();
    let declined = store.settle(settled.checkout_id, STATUSES[1], at(5)).await.unwrap();
    let tombstone = store.record_refund(cancelled, Cancelled, at(6)).await.unwrap();
    drop(store);
    let store = fixture.store().await;
    assert_eq!(store.load(pending.checkout_id).await.unwrap(), Some(pending));
    assert_eq!(store.load(settled.checkout_id).await.unwrap(), Some(declined));
    assert_eq!(store.load(cancelled).await.unwrap(), Some(tombstone));
    assert!(store.is_up().await);
}

async fn one_replica_continues_what_another_began(fixture: &dyn StoreFixture) {
    let ([here, there], pending) = (replicas(fixture).await, intent(checkout()));
    here.record_intent(&pending).await.unwrap();
    assert_eq!(
        there.record_intent(&intent(pending.checkout_id)).await.unwrap(),
        pending
    );
    let settled = there.settle(pending.checkout_id, Charged, at(5)).await.unwrap();
    assert_eq!(here.load(pending.checkout_id).await.unwrap(), Some(settled));
    let refunded = here.record_refund(pending.checkout_id, Refunded, at(6)).await.unwrap();
    assert_eq!(there.load(pending.checkout_id).await.unwrap(), Some(refunded));
}

async fn of_64_concurrent_intents_one_is_recorded(fixture: &dyn StoreFixture) {
    let (stores, checkout) = (replicas(fixture).await, checkout());
    let intents: Vec<_> = (0..64).map(|_| intent(checkout)).collect();
    let payments = join_all(
        (0..)
            .zip(&intents)
            .map(|(i, intent): (usize, _)| stores[i % 2].record_intent(intent)),
    )
    .await;
    let ids: HashSet<_> = payments
        .into_iter()
        .map(|payment| payment.unwrap().details.unwrap().payment_id)
        .collect();
    assert_eq!(ids.len(), 1);
}

async fn concurrent_writers_of_64_checkouts_all_succeed(fixture: &dyn StoreFixture) {
    let [store, other] = replicas(fixture).await;
    let written = join_all((0..64).map(|i| {
        let store = if i % 2 == 0 { store.clone() } else { other.clone() };
        async move {
            let pending = intent(checkout());
            store.record_intent(&pending).await.unwrap();
            let status = STATUSES[i % 4];
            (status, store.settle(pending.checkout_id, status, at(5)).await.unwrap())
        }
    }))
    .await;
    for (status, payment) in written {
        assert_eq!(payment.state, domain::next_state(Some(State::Intent), status).unwrap());
        assert_eq!(store.load(payment.checkout_id).await.unwrap(), Some(payment));
    }
}

async fn concurrent_settlements_and_refunds_end_refunded(fixture: &dyn StoreFixture) {
    let ([store, other], pending) = (replicas(fixture).await, intent(checkout()));
    store.record_intent(&pending).await.unwrap();
    let all = join_all((0..64).map(|i| {
        let store = if i % 4 < 2 { store.clone() } else { other.clone() };
        let checkout = pending.checkout_id;
        async move {
            if i % 2 == 0 {
                store.settle(checkout, Charged, at(i)).await.unwrap().state
            } else {
                store.record_refund(checkout, Refunded, at(i)).await.unwrap().state
            }
        }
    }))
    .await;
    assert!(
        all.iter().skip(1).step_by(2).all(|state| *state == State::Refunded),
        "{all:?}"
    );
    assert_eq!(
        store.load(pending.checkout_id).await.unwrap().unwrap().state,
        State::Refunded
    );
}

async fn concurrent_intents_and_tombstones_end_cancelled(fixture: &dyn StoreFixture) {
    let ([store, other], checkout) = (replicas(fixture).await, checkout());
    let all = join_all((0..64).map(|i| {
        let store = if i % 4 < 2 { store.clone() } else { other.clone() };
        async move {
            if i % 2 == 0 {
                store.record_intent(&intent(checkout)).await.unwrap()
            } else {
                store.record_refund(checkout, Cancelled, at(i)).await.unwrap()
            }
        }
    }))
    .await;
    let last = store.load(checkout).await.unwrap().unwrap();
    assert_eq!(last.state, State::Cancelled);
    assert!(
        all.iter().skip(1).step_by(2).all(|refunded| *refunded == last),
        "{all:?}"
    );
    // Either an intent came before the first refund, or none did.
    assert!(all.iter().all(|payment| payment.details == last.details), "{all:?}");
}
