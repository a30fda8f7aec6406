//! What every payment store does, whatever it is made of.

use std::{collections::HashSet, sync::Arc};

use futures::future::join_all;
use jiff::Timestamp;
use money::Money;
use payment::{
    domain::{self, CheckoutId, DeclineReason, Opened, Payment, PaymentId, PaymentMethod, Standing, State, Terms},
    ports::PaymentStore,
};
use runtime::Ids;
use storage::StoreError;
use testing::SqliteFixture;

use crate::{
    harness::{checkout, terms},
    places::{PostgresFixtures, Stores},
};

testing::contract! { store_contract:
    what_is_opened_is_loaded_as_it_was,
    the_first_intent_stands,
    a_payment_id_that_is_taken_is_a_conflict,
    each_answer_settles_an_open_payment_and_again_changes_nothing,
    each_answer_to_each_state_is_taken_as_the_rules_say,
    an_answer_that_comes_after_the_refund_changes_nothing,
    a_charged_payment_is_refunded,
    a_contradiction_is_corrupt_and_changes_nothing,
    a_payment_that_is_not_there_cannot_be_settled,
    a_refund_before_its_charge_leaves_a_tombstone_that_the_charge_finds,
    everything_is_there_after_a_reopen,
    what_one_replica_wrote_another_one_goes_on_with,
    sixty_four_racing_intents_are_one_payment,
    sixty_four_racing_writers_of_their_own_checkouts_do_not_disturb_each_other,
    sixty_four_racing_settlements_and_refunds_end_refunded,
    sixty_four_racing_intents_and_tombstones_end_cancelled,
}

store_contract!(sqlite: SqliteFixture, postgres: PostgresFixtures);

/// Two processes that keep their payments in one place.
async fn replicas(place: &dyn Stores) -> [Arc<dyn PaymentStore>; 2] {
    [place.store().await, place.store().await]
}

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn intent_of(checkout: CheckoutId, terms: Terms) -> Payment {
    Payment::intent(
        checkout,
        Opened {
            payment_id: PaymentId(Ids::random().next()),
            terms,
        },
        at(1_700_000_000_123),
    )
}

fn intent(checkout: CheckoutId) -> Payment {
    intent_of(checkout, terms(4200, "pm_card_ok"))
}

const STANDINGS: [Standing; 4] = [
    Standing::Charged,
    Standing::Declined(DeclineReason::InsufficientFunds),
    Standing::Refunded,
    Standing::Cancelled,
];

async fn what_is_opened_is_loaded_as_it_was(place: &dyn Stores) {
    let store = place.store().await;
    let most = Terms {
        amount: Money::new(i64::MAX, "JPY".parse().unwrap()),
        method: PaymentMethod::new("x".repeat(64)).unwrap(),
    };
    for terms in [terms(1, "p"), most] {
        let checkout = checkout();
        assert_eq!(store.load(checkout).await.unwrap(), None);
        let payment = intent_of(checkout, terms);
        assert_eq!(store.open(&payment).await.unwrap(), payment);
        assert_eq!(store.load(checkout).await.unwrap(), Some(payment));
    }
}

async fn the_first_intent_stands(place: &dyn Stores) {
    let (store, checkout) = (place.store().await, checkout());
    let first = intent(checkout);
    store.open(&first).await.unwrap();
    assert_eq!(store.open(&first).await.unwrap(), first);
    assert_eq!(
        store.open(&intent_of(checkout, terms(1, "pm_other"))).await.unwrap(),
        first
    );
    assert_eq!(store.load(checkout).await.unwrap(), Some(first));
}

async fn a_payment_id_that_is_taken_is_a_conflict(place: &dyn Stores) {
    let (store, first) = (place.store().await, intent(checkout()));
    store.open(&first).await.unwrap();
    let second = Payment {
        checkout_id: checkout(),
        ..first
    };
    assert!(matches!(store.open(&second).await, Err(StoreError::Conflict)));
    assert_eq!(store.load(second.checkout_id).await.unwrap(), None);
}

async fn each_answer_settles_an_open_payment_and_again_changes_nothing(place: &dyn Stores) {
    let store = place.store().await;
    for standing in STANDINGS {
        let open = intent(checkout());
        store.open(&open).await.unwrap();
        let settled = store.settle(open.checkout_id, standing, at(5)).await.unwrap();
        assert_ne!(settled.state, State::Intent);
        assert_eq!(
            settled,
            Payment {
                state: settled.state,
                ..open.clone()
            }
        );
        assert_eq!(store.settle(open.checkout_id, standing, at(6)).await.unwrap(), settled);
        assert_eq!(store.refund(open.checkout_id, standing, at(7)).await.unwrap(), settled);
        assert_eq!(store.open(&open).await.unwrap(), settled);
        assert_eq!(store.load(open.checkout_id).await.unwrap(), Some(settled));
    }
}

async fn each_answer_to_each_state_is_taken_as_the_rules_say(place: &dyn Stores) {
    let store = place.store().await;
    let firsts = STANDINGS.map(Some).into_iter().chain([None]);
    for (first, second) in firsts.flat_map(|first| STANDINGS.map(|second| (first, second))) {
        for is_refund in [false, true] {
            let open = intent(checkout());
            let mut before = store.open(&open).await.unwrap();
            if let Some(first) = first {
                before = store.settle(open.checkout_id, first, at(5)).await.unwrap();
            }
            let answer = if is_refund {
                store.refund(open.checkout_id, second, at(6)).await
            } else {
                store.settle(open.checkout_id, second, at(6)).await
            };
            let context = format!("{first:?}, then {second:?}, refund: {is_refund}");
            let expected = domain::after(Some(before.state), second);
            if let Ok(state) = expected {
                assert_eq!(answer.unwrap().state, state, "{context}");
            } else {
                assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{context}: {answer:?}");
            }
            let expected = expected.unwrap_or(before.state);
            let after = store.load(open.checkout_id).await.unwrap().unwrap();
            assert_eq!(
                after,
                Payment {
                    state: expected,
                    ..open
                },
                "{context}"
            );
        }
    }
}

async fn an_answer_that_comes_after_the_refund_changes_nothing(place: &dyn Stores) {
    let (store, open) = (place.store().await, intent(checkout()));
    store.open(&open).await.unwrap();
    let refunded = store.refund(open.checkout_id, Standing::Refunded, at(5)).await.unwrap();
    assert_eq!(refunded.state, State::Refunded);
    assert_eq!(
        store.settle(open.checkout_id, Standing::Charged, at(6)).await.unwrap(),
        refunded
    );
}

async fn a_charged_payment_is_refunded(place: &dyn Stores) {
    let (store, open) = (place.store().await, intent(checkout()));
    store.open(&open).await.unwrap();
    store.settle(open.checkout_id, Standing::Charged, at(5)).await.unwrap();
    let refunded = store.refund(open.checkout_id, Standing::Refunded, at(6)).await.unwrap();
    assert_eq!(
        refunded,
        Payment {
            state: State::Refunded,
            ..open
        }
    );
}

async fn a_contradiction_is_corrupt_and_changes_nothing(place: &dyn Stores) {
    let (store, open) = (place.store().await, intent(checkout()));
    store.open(&open).await.unwrap();
    let charged = store.settle(open.checkout_id, Standing::Charged, at(5)).await.unwrap();
    let result = store.refund(open.checkout_id, Standing::Cancelled, at(6)).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    assert_eq!(store.load(open.checkout_id).await.unwrap(), Some(charged));
}

async fn a_payment_that_is_not_there_cannot_be_settled(place: &dyn Stores) {
    let (store, checkout) = (place.store().await, checkout());
    let result = store.settle(checkout, Standing::Charged, at(5)).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    assert_eq!(store.load(checkout).await.unwrap(), None);
}

async fn a_refund_before_its_charge_leaves_a_tombstone_that_the_charge_finds(place: &dyn Stores) {
    let (store, checkout) = (place.store().await, checkout());
    let tombstone = store.refund(checkout, Standing::Cancelled, at(5)).await.unwrap();
    let expected = Payment {
        checkout_id: checkout,
        opened: None,
        state: State::Cancelled,
        created_at: at(5),
    };
    assert_eq!(tombstone, expected);
    assert_eq!(
        store.refund(checkout, Standing::Cancelled, at(6)).await.unwrap(),
        expected
    );
    assert_eq!(store.open(&intent(checkout)).await.unwrap(), expected);
}

async fn everything_is_there_after_a_reopen(place: &dyn Stores) {
    let (open, settled, cancelled) = (intent(checkout()), intent(checkout()), checkout());
    let store = place.store().await;
    store.open(&open).await.unwrap();
    store.open(&settled).await.unwrap();
    let declined = store.settle(settled.checkout_id, STANDINGS[1], at(5)).await.unwrap();
    let tombstone = store.refund(cancelled, Standing::Cancelled, at(6)).await.unwrap();
    drop(store);
    let store = place.store().await;
    assert_eq!(store.load(open.checkout_id).await.unwrap(), Some(open));
    assert_eq!(store.load(settled.checkout_id).await.unwrap(), Some(declined));
    assert_eq!(store.load(cancelled).await.unwrap(), Some(tombstone));
    assert!(store.is_up().await);
}

async fn what_one_replica_wrote_another_one_goes_on_with(place: &dyn Stores) {
    let ([here, there], open) = (replicas(place).await, intent(checkout()));
    here.open(&open).await.unwrap();
    assert_eq!(there.open(&intent(open.checkout_id)).await.unwrap(), open);
    let settled = there.settle(open.checkout_id, Standing::Charged, at(5)).await.unwrap();
    assert_eq!(here.load(open.checkout_id).await.unwrap(), Some(settled));
    let refunded = here.refund(open.checkout_id, Standing::Refunded, at(6)).await.unwrap();
    assert_eq!(there.load(open.checkout_id).await.unwrap(), Some(refunded));
}

async fn sixty_four_racing_intents_are_one_payment(place: &dyn Stores) {
    let (stores, checkout) = (replicas(place).await, checkout());
    let intents: Vec<_> = (0..64).map(|_| intent(checkout)).collect();
    let opened = join_all(
        (0..)
            .zip(&intents)
            .map(|(i, intent): (usize, _)| stores[i % 2].open(intent)),
    )
    .await;
    let ids: HashSet<_> = opened
        .into_iter()
        .map(|payment| payment.unwrap().opened.unwrap().payment_id)
        .collect();
    assert_eq!(ids.len(), 1);
}

async fn sixty_four_racing_writers_of_their_own_checkouts_do_not_disturb_each_other(place: &dyn Stores) {
    let [store, other] = replicas(place).await;
    let written = join_all((0..64).map(|i| {
        let store = if i % 2 == 0 { store.clone() } else { other.clone() };
        async move {
            let open = intent(checkout());
            store.open(&open).await.unwrap();
            let standing = STANDINGS[i % 4];
            (standing, store.settle(open.checkout_id, standing, at(5)).await.unwrap())
        }
    }))
    .await;
    for (standing, payment) in written {
        assert_eq!(payment.state, domain::after(Some(State::Intent), standing).unwrap());
        assert_eq!(store.load(payment.checkout_id).await.unwrap(), Some(payment));
    }
}

async fn sixty_four_racing_settlements_and_refunds_end_refunded(place: &dyn Stores) {
    let ([store, other], open) = (replicas(place).await, intent(checkout()));
    store.open(&open).await.unwrap();
    let all = join_all((0..64).map(|i| {
        let store = if i % 4 < 2 { store.clone() } else { other.clone() };
        let checkout = open.checkout_id;
        async move {
            if i % 2 == 0 {
                store.settle(checkout, Standing::Charged, at(i)).await.unwrap().state
            } else {
                store.refund(checkout, Standing::Refunded, at(i)).await.unwrap().state
            }
        }
    }))
    .await;
    assert!(
        all.iter().skip(1).step_by(2).all(|state| *state == State::Refunded),
        "{all:?}"
    );
    assert_eq!(
        store.load(open.checkout_id).await.unwrap().unwrap().state,
        State::Refunded
    );
}

async fn sixty_four_racing_intents_and_tombstones_end_cancelled(place: &dyn Stores) {
    let ([store, other], checkout) = (replicas(place).await, checkout());
    let all = join_all((0..64).map(|i| {
        let store = if i % 4 < 2 { store.clone() } else { other.clone() };
        async move {
            if i % 2 == 0 {
                store.open(&intent(checkout)).await.unwrap()
            } else {
                store.refund(checkout, Standing::Cancelled, at(i)).await.unwrap()
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
    // Whoever opened it first did so for all, before the first refund or never.
    assert!(all.iter().all(|payment| payment.opened == last.opened), "{all:?}");
}
