//! Every way in which a provider fails, for each use case.

use futures::future::join_all;
use payment::domain::{DeclineReason, State};

use crate::harness::{Answer, Fault, Harness, Setup, checkout, terms};

/// Faults after which the provider has done its part and the caller does not know.
const SILENT: [Fault; 3] = [Fault::AnswerLost, Fault::NeverAnswers, Fault::Slow];

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_is_found_by_get_payment() {
    join_all(SILENT.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let checkout = checkout();
        harness.provider.plan([fault]);
        assert_eq!(
            harness.charge(checkout, &terms(500, "pm_card_ok")).await,
            Answer::Unavailable,
            "{fault:?}"
        );
        assert_eq!(harness.row(checkout).await, Some(State::Intent), "{fault:?}");
        assert_eq!(
            harness.get(checkout).await,
            Answer::Payment(State::Succeeded),
            "{fault:?}"
        );
        assert_eq!(harness.row(checkout).await, Some(State::Succeeded), "{fault:?}");
        assert_eq!(harness.books.held(checkout).await, 500, "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_is_charged_once_when_it_is_repeated() {
    join_all(SILENT.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        harness.provider.plan([fault]);
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable, "{fault:?}");
        let charged = harness.charge(checkout, &terms).await;
        assert!(charged.is_charged(), "{fault:?}: {charged:?}");
        assert_eq!(harness.charge(checkout, &terms).await, charged);
        assert_eq!(harness.books.lines(checkout).await, [1, 0, 0, 0], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_can_be_refunded() {
    join_all(SILENT.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        harness.provider.plan([fault]);
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable, "{fault:?}");
        assert_eq!(
            harness.refund(checkout).await,
            Answer::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Cancelled, "{fault:?}");
        assert_eq!(harness.books.lines(checkout).await, [1, 0, 1, 0], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_decline_whose_answer_did_not_come_stays_a_decline() {
    let harness = Harness::new().await;
    let (refunded, repeated) = (checkout(), checkout());
    let terms = terms(500, "pm_card_expired");
    for checkout in [refunded, repeated] {
        harness.provider.plan([Fault::AnswerLost]);
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable);
    }
    let declined = DeclineReason::CardExpired;
    assert_eq!(
        harness.refund(refunded).await,
        Answer::Payment(State::Declined(declined))
    );
    assert_eq!(harness.charge(refunded, &terms).await, Answer::Declined(declined));
    assert_eq!(harness.charge(repeated, &terms).await, Answer::Declined(declined));
    assert_eq!(harness.get(repeated).await, Answer::Payment(State::Declined(declined)));
}

#[tokio::test]
async fn a_refund_whose_answer_did_not_come_gives_back_once_when_it_is_repeated() {
    join_all(SILENT.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        assert!(harness.charge(checkout, &terms).await.is_charged());
        harness.provider.plan([fault]);
        assert_eq!(harness.refund(checkout).await, Answer::Unavailable, "{fault:?}");
        assert_eq!(
            harness.refund(checkout).await,
            Answer::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(
            harness.refund(checkout).await,
            Answer::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(harness.books.lines(checkout).await, [1, 0, 1, 0], "{fault:?}");
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Cancelled);
    }))
    .await;
}

#[tokio::test]
async fn a_tombstone_whose_answer_did_not_come_refuses_the_charge_that_comes_next() {
    join_all(SILENT.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let checkout = checkout();
        harness.provider.plan([fault]);
        assert_eq!(harness.refund(checkout).await, Answer::Unavailable, "{fault:?}");
        assert_eq!(harness.row(checkout).await, None, "{fault:?}");
        assert_eq!(
            harness.charge(checkout, &terms(500, "pm_card_ok")).await,
            Answer::Cancelled,
            "{fault:?}"
        );
        assert_eq!(harness.row(checkout).await, Some(State::Cancelled), "{fault:?}");
        assert_eq!(
            harness.refund(checkout).await,
            Answer::Payment(State::Cancelled),
            "{fault:?}"
        );
        assert_eq!(harness.books.lines(checkout).await, [0, 0, 0, 1], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_look_up_without_an_answer_says_so_and_leaves_the_payment_open() {
    let harness = Harness::with(Setup::impatient()).await;
    let checkout = checkout();
    harness.provider.plan([
        Fault::AnswerLost,
        Fault::Down,
        Fault::AnswerLost,
        Fault::NeverAnswers,
        Fault::Slow,
    ]);
    assert_eq!(
        harness.charge(checkout, &terms(500, "pm_card_ok")).await,
        Answer::Unavailable
    );
    for _ in 0..4 {
        assert_eq!(harness.get(checkout).await, Answer::Unavailable);
        assert_eq!(harness.row(checkout).await, Some(State::Intent));
    }
    assert_eq!(harness.get(checkout).await, Answer::Payment(State::Succeeded));
}

#[tokio::test]
async fn a_provider_that_is_down_three_times_is_asked_a_fourth_time() {
    let harness = Harness::new().await;
    let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
    harness.provider.plan([Fault::Down; 3]);
    for _ in 0..3 {
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable);
        assert_eq!(harness.books.held(checkout).await, 0);
    }
    assert!(harness.charge(checkout, &terms).await.is_charged());
    harness.provider.plan([Fault::Down; 3]);
    for _ in 0..3 {
        assert_eq!(harness.refund(checkout).await, Answer::Unavailable);
        assert_eq!(harness.row(checkout).await, Some(State::Succeeded));
    }
    assert_eq!(harness.refund(checkout).await, Answer::Payment(State::Refunded));
    assert_eq!(harness.books.lines(checkout).await, [1, 0, 1, 0]);
}

#[tokio::test]
async fn a_provider_that_is_down_for_ever_costs_nobody_what_is_settled() {
    let harness = Harness::new().await;
    let (paid, declined, open) = (checkout(), checkout(), checkout());
    let (good, bad) = (terms(500, "pm_card_ok"), terms(500, "pm_card_declined"));
    let charged = harness.charge(paid, &good).await;
    assert!(charged.is_charged());
    let refused = harness.charge(declined, &bad).await;
    harness.provider.always(Fault::Down);
    for _ in 0..5 {
        assert_eq!(harness.charge(open, &good).await, Answer::Unavailable);
        assert_eq!(harness.get(open).await, Answer::Unavailable);
        assert_eq!(harness.refund(open).await, Answer::Unavailable);
        assert_eq!(harness.refund(paid).await, Answer::Unavailable);
    }
    assert_eq!(harness.row(open).await, Some(State::Intent));
    assert_eq!(harness.charge(paid, &good).await, charged);
    assert_eq!(harness.get(paid).await, Answer::Payment(State::Succeeded));
    assert_eq!(harness.charge(declined, &bad).await, refused);
    assert_eq!(
        harness.refund(declined).await,
        Answer::Payment(State::Declined(DeclineReason::CardDeclined))
    );
}

#[tokio::test]
async fn a_charge_that_the_provider_never_heard_of_is_pending() {
    let (harness, checkout) = (Harness::new().await, checkout());
    harness.provider.plan([Fault::Down]);
    assert_eq!(
        harness.charge(checkout, &terms(500, "pm_card_ok")).await,
        Answer::Unavailable
    );
    assert_eq!(harness.get(checkout).await, Answer::Payment(State::Intent));
    assert_eq!(harness.refund(checkout).await, Answer::Payment(State::Cancelled));
    assert_eq!(harness.get(checkout).await, Answer::Payment(State::Cancelled));
}
