//! Calls for one checkout at the same time, from two replicas.

use futures::{
    FutureExt, StreamExt,
    future::{join, join_all},
    stream::FuturesUnordered,
};
use payment::domain::State;
use testing::SqliteFixture;

use crate::{
    harness::{Answer, Fault, Harness, Setup, checkout, terms},
    places::{PostgresFixtures, Stores},
};

testing::contract! { race_suite:
    sixty_four_charges_with_one_key_are_one_charge_with_one_answer,
    sixty_four_charges_of_which_some_differ_charge_one_amount,
    of_sixty_four_charges_the_provider_is_down_for_three,
    of_sixty_four_charges_one_answer_is_lost,
    a_charge_that_races_its_refund_leaves_no_money_that_the_row_does_not_know,
    a_storm_of_all_calls_with_lost_answers_ends_in_one_truth,
}

race_suite!(sqlite: SqliteFixture, postgres: PostgresFixtures);

/// Two processes of the service.
async fn replicas(place: &dyn Stores, setup: Setup) -> [Harness; 2] {
    [Harness::at(place, setup.clone()).await, Harness::at(place, setup).await]
}

async fn sixty_four_charges_with_one_key_are_one_charge_with_one_answer(place: &dyn Stores) {
    let harnesses = replicas(place, Setup::default()).await;
    let (checkout, terms) = (checkout(), terms(4200, "pm_card_ok"));
    let answers = join_all((0..64).map(|i| harnesses[i % 2].charge(checkout, &terms))).await;
    assert!(answers[0].is_charged());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let [Harness { books, .. }, _] = &harnesses;
    assert_eq!(books.lines(checkout).await, [1, 0, 0, 0]);
    assert_eq!(books.held(checkout).await, 4200);
}

async fn sixty_four_charges_of_which_some_differ_charge_one_amount(place: &dyn Stores) {
    let (harnesses, checkout) = (replicas(place, Setup::default()).await, checkout());
    let both = [terms(4200, "pm_card_ok"), terms(4300, "pm_card_ok")];
    let answers = join_all((0..64).map(|i| harnesses[i / 2 % 2].charge(checkout, &both[i % 2]))).await;
    let winner = answers.iter().position(|answer| answer.is_charged()).unwrap() % 2;
    for (i, answer) in answers.iter().enumerate() {
        if i % 2 == winner {
            assert!(answer.is_charged(), "{answers:?}");
        } else {
            assert_eq!(*answer, Answer::OtherTerms, "{answers:?}");
        }
    }
    let [Harness { books, .. }, _] = &harnesses;
    assert_eq!(books.held(checkout).await, both[winner].amount.minor_units());
}

async fn of_sixty_four_charges_the_provider_is_down_for_three(place: &dyn Stores) {
    let harnesses = replicas(place, Setup::default()).await;
    let (checkout, terms) = (checkout(), terms(4200, "pm_card_unavailable"));
    let answers = join_all((0..64).map(|i| harnesses[i % 2].charge(checkout, &terms))).await;
    let (charged, down): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.is_charged());
    assert!(charged.iter().all(|answer| *answer == charged[0]), "{charged:?}");
    assert_eq!(down, [Answer::Unavailable; 3]);
    let [Harness { books, .. }, _] = &harnesses;
    assert_eq!(books.lines(checkout).await, [1, 0, 0, 0]);
}

async fn of_sixty_four_charges_one_answer_is_lost(place: &dyn Stores) {
    let harnesses = replicas(place, Setup::default()).await;
    let (checkout, terms) = (checkout(), terms(4200, "pm_card_charged_reply_lost"));
    let mut calls: FuturesUnordered<_> = (0..64).map(|i| harnesses[i % 2].charge(checkout, &terms)).collect();
    let answers: Vec<_> = calls.by_ref().take(63).collect().await;
    assert!(answers[0].is_charged());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let lost = calls.next().now_or_never();
    assert_eq!(lost, None, "the one that was first waits for ever");
    let [Harness { books, .. }, _] = &harnesses;
    assert_eq!(books.lines(checkout).await, [1, 0, 0, 0]);
}

async fn a_charge_that_races_its_refund_leaves_no_money_that_the_row_does_not_know(place: &dyn Stores) {
    let [harness, other] = replicas(place, Setup::default()).await;
    let good = terms(4200, "pm_card_ok");
    let (mut refunded, mut cancelled) = (0, 0);
    for round in 0..100 {
        let checkout = checkout();
        // Either one goes first in half of the rounds.
        let (charged, given_back) = if round % 2 == 0 {
            join(harness.charge(checkout, &good), other.refund(checkout)).await
        } else {
            let (given_back, charged) = join(other.refund(checkout), harness.charge(checkout, &good)).await;
            (charged, given_back)
        };
        let row = harness.row(checkout).await.unwrap();
        assert_eq!(given_back, Answer::Payment(row));
        match row {
            State::Refunded => {
                assert!(charged.is_charged() || charged == Answer::Cancelled, "{charged:?}");
                assert_eq!(harness.books.lines(checkout).await, [1, 0, 1, 0]);
                refunded += 1;
            }
            State::Cancelled => {
                assert_eq!(charged, Answer::Cancelled);
                assert_eq!(harness.books.lines(checkout).await, [0, 0, 0, 1]);
                cancelled += 1;
            }
            State::Intent | State::Succeeded | State::Declined(_) => panic!("{row:?} after its refund"),
        }
        assert_eq!(harness.charge(checkout, &good).await, Answer::Cancelled);
        assert_eq!(harness.books.held(checkout).await, 0);
    }
    assert_eq!(refunded + cancelled, 100);
}

async fn a_storm_of_all_calls_with_lost_answers_ends_in_one_truth(place: &dyn Stores) {
    let harnesses = replicas(place, Setup::default()).await;
    let [harness, _] = &harnesses;
    let good = terms(4200, "pm_card_ok");
    for _ in 0..10 {
        let checkout = checkout();
        let losses = (0..12).map(|i| [Fault::None, Fault::AnswerLost, Fault::Down][i % 3]);
        for harness in &harnesses {
            harness.provider.plan(losses.clone());
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
            matches!(last, Answer::Payment(State::Refunded | State::Cancelled)),
            "{last:?}"
        );
        assert_eq!(harness.get(checkout).await, last);
        assert_eq!(harness.books.held(checkout).await, 0);
        let [charges, declined, refunds, tombstones] = harness.books.lines(checkout).await;
        assert_eq!((declined, charges, refunds), (0, refunds, charges));
        assert_eq!(charges + tombstones, 1);
    }
}
