//! Concurrent calls for one checkout, from two replicas.

use futures::{
    FutureExt, StreamExt,
    future::{join, join_all},
    stream::FuturesUnordered,
};
use payment::domain::State;
use testing::SqliteFixture;

use crate::{
    fixtures::{PostgresFixtures, StoreFixture},
    harness::{Fault, Harness, Outcome, Setup, checkout, terms},
};

testing::contract! { race_suite:
    of_64_concurrent_charges_one_is_made_and_all_get_its_answer,
    of_64_concurrent_charges_with_two_amounts_one_amount_is_charged,
    of_64_concurrent_charges_three_find_the_provider_down,
    of_64_concurrent_charges_one_answer_is_lost,
    a_charge_that_races_its_refund_leaves_no_charge_unrefunded,
    concurrent_calls_with_lost_answers_end_in_one_consistent_state,
}

race_suite!(sqlite: SqliteFixture, postgres: PostgresFixtures);

async fn replicas(fixture: &dyn StoreFixture, setup: Setup) -> [Harness; 2] {
    [
        Harness::at(fixture, setup.clone()).await,
        Harness::at(fixture, setup).await,
    ]
}

async fn of_64_concurrent_charges_one_is_made_and_all_get_its_answer(fixture: &dyn StoreFixture) {
    let harnesses = replicas(fixture, Setup::default()).await;
    let (checkout, terms) = (checkout(), terms(4200, "pm_card_ok"));
    let answers = join_all((0..64).map(|i| harnesses[i % 2].charge(checkout, &terms))).await;
    assert!(answers[0].is_charged());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let [Harness { audit, .. }, _] = &harnesses;
    assert_eq!(audit.row_counts(checkout).await, [1, 0, 0, 0]);
    assert_eq!(audit.net_charged(checkout).await, 4200);
}

async fn of_64_concurrent_charges_with_two_amounts_one_amount_is_charged(fixture: &dyn StoreFixture) {
    let (harnesses, checkout) = (replicas(fixture, Setup::default()).await, checkout());
    let both = [terms(4200, "pm_card_ok"), terms(4300, "pm_card_ok")];
    let answers = join_all((0..64).map(|i| harnesses[i / 2 % 2].charge(checkout, &both[i % 2]))).await;
    let winner = answers.iter().position(|answer| answer.is_charged()).unwrap() % 2;
    for (i, answer) in answers.iter().enumerate() {
        if i % 2 == winner {
            assert!(answer.is_charged(), "{answers:?}");
        } else {
            assert_eq!(*answer, Outcome::TermsMismatch, "{answers:?}");
        }
    }
    let [Harness { audit, .. }, _] = &harnesses;
    assert_eq!(audit.net_charged(checkout).await, both[winner].amount.minor_units());
}

async fn of_64_concurrent_charges_three_find_the_provider_down(fixture: &dyn StoreFixture) {
    let harnesses = replicas(fixture, Setup::default()).await;
    let (checkout, terms) = (checkout(), terms(4200, "pm_card_unavailable"));
    let answers = join_all((0..64).map(|i| harnesses[i % 2].charge(checkout, &terms))).await;
    let (charged, down): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.is_charged());
    assert!(charged.iter().all(|answer| *answer == charged[0]), "{charged:?}");
    assert_eq!(down, [Outcome::Unknown; 3]);
    let [Harness { audit, .. }, _] = &harnesses;
    assert_eq!(audit.row_counts(checkout).await, [1, 0, 0, 0]);
}

async fn of_64_concurrent_charges_one_answer_is_lost(fixture: &dyn StoreFixture) {
    let harnesses = replicas(fixture, Setup::default()).await;
    let (checkout, terms) = (checkout(), terms(4200, "pm_card_charged_reply_lost"));
    let mut calls: FuturesUnordered<_> = (0..64).map(|i| harnesses[i % 2].charge(checkout, &terms)).collect();
    let answers: Vec<_> = calls.by_ref().take(63).collect().await;
    assert!(answers[0].is_charged());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let lost = calls.next().now_or_never();
    assert_eq!(lost, None, "the first attempt still waits");
    let [Harness { audit, .. }, _] = &harnesses;
    assert_eq!(audit.row_counts(checkout).await, [1, 0, 0, 0]);
}

async fn a_charge_that_races_its_refund_leaves_no_charge_unrefunded(fixture: &dyn StoreFixture) {
    let [harness, other] = replicas(fixture, Setup::default()).await;
    let good = terms(4200, "pm_card_ok");
    let (mut refunded, mut cancelled) = (0, 0);
    for round in 0..100 {
        let checkout = checkout();
        // Each call goes first in half of the rounds.
        let (charged, refund) = if round % 2 == 0 {
            join(harness.charge(checkout, &good), other.refund(checkout)).await
        } else {
            let (refund, charged) = join(other.refund(checkout), harness.charge(checkout, &good)).await;
            (charged, refund)
        };
        let state = harness.state(checkout).await.unwrap();
        assert_eq!(refund, Outcome::Payment(state));
        match state {
            State::Refunded => {
                assert!(charged.is_charged() || charged == Outcome::Cancelled, "{charged:?}");
                assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 1, 0]);
                refunded += 1;
            }
            State::Cancelled => {
                assert_eq!(charged, Outcome::Cancelled);
                assert_eq!(harness.audit.row_counts(checkout).await, [0, 0, 0, 1]);
                cancelled += 1;
            }
            State::Intent | State::Succeeded | State::Declined(_) => panic!("{state:?} after its refund"),
        }
        assert_eq!(harness.charge(checkout, &good).await, Outcome::Cancelled);
        assert_eq!(harness.audit.net_charged(checkout).await, 0);
    }
    assert_eq!(refunded + cancelled, 100);
}

async fn concurrent_calls_with_lost_answers_end_in_one_consistent_state(fixture: &dyn StoreFixture) {
    let harnesses = replicas(fixture, Setup::default()).await;
    let [harness, _] = &harnesses;
    let good = terms(4200, "pm_card_ok");
    for _ in 0..10 {
        let checkout = checkout();
        let faults = (0..12).map(|i| [Fault::None, Fault::AnswerLost, Fault::Down][i % 3]);
        for harness in &harnesses {
            harness.provider.plan(faults.clone());
        }
        let charges = join_all((0..16).map(|i| harnesses[i % 2].charge(checkout, &good)));
        let refunds = join_all((0..8).map(|i| harnesses[i % 2].refund(checkout)));
        let reads = join_all((0..8).map(|i| harnesses[i % 2].get(checkout)));
        let ((answers, _), _) = join(join(charges, refunds), reads).await;
        for harness in &harnesses {
            harness.provider.plan([]);
        }
        let ids: Vec<_> = answers.into_iter().filter(|answer| answer.is_charged()).collect();
        assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
        let last = harness.refund(checkout).await;
        assert!(
            matches!(last, Outcome::Payment(State::Refunded | State::Cancelled)),
            "{last:?}"
        );
        assert_eq!(harness.get(checkout).await, last);
        assert_eq!(harness.audit.net_charged(checkout).await, 0);
        let [charges, declined, refunds, tombstones] = harness.audit.row_counts(checkout).await;
        assert_eq!((declined, charges, refunds), (0, refunds, charges));
        assert_eq!(charges + tombstones, 1);
    }
}
