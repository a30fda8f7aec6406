//! Every way in which a provider fails, for each use case.

use futures::future::join_all;
use payment::domain::{DeclineReason, State};

use crate::bench::{Answer, Bench, Fault, Setup, checkout, terms};

/// Faults after which the provider has done its part and the caller does not know.
const SILENT: [Fault; 3] = [Fault::AnswerLost, Fault::NeverAnswers, Fault::Slow];

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_is_found_by_get_payment() {
    join_all(SILENT.map(|fault| async move {
        let bench = Bench::with(Setup::impatient()).await;
        let checkout = checkout();
        bench.provider.plan([fault]);
        assert_eq!(
            bench.charge(checkout, &terms(500, "pm_card_ok")).await,
            Answer::Unavailable,
            "{fault:?}"
        );
        assert_eq!(bench.row(checkout).await, Some(State::Intent), "{fault:?}");
        assert_eq!(
            bench.get(checkout).await,
            Answer::Payment(State::Succeeded),
            "{fault:?}"
        );
        assert_eq!(bench.row(checkout).await, Some(State::Succeeded), "{fault:?}");
        assert_eq!(bench.books.held(checkout).await, 500, "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_is_charged_once_when_it_is_repeated() {
    join_all(SILENT.map(|fault| async move {
        let bench = Bench::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        bench.provider.plan([fault]);
        assert_eq!(bench.charge(checkout, &terms).await, Answer::Unavailable, "{fault:?}");
        let charged = bench.charge(checkout, &terms).await;
        assert!(charged.is_charged(), "{fault:?}: {charged:?}");
        assert_eq!(bench.charge(checkout, &terms).await, charged);
        assert_eq!(bench.books.lines(checkout).await, [1, 0, 0, 0], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_can_be_refunded() {
    join_all(SILENT.map(|fault| async move {
        let bench = Bench::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        bench.provider.plan([fault]);
        assert_eq!(bench.charge(checkout, &terms).await, Answer::Unavailable, "{fault:?}");
        assert_eq!(
            bench.refund(checkout).await,
            Answer::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(bench.charge(checkout, &terms).await, Answer::Cancelled, "{fault:?}");
        assert_eq!(bench.books.lines(checkout).await, [1, 0, 1, 0], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_decline_whose_answer_did_not_come_stays_a_decline() {
    let bench = Bench::new().await;
    let (refunded, repeated) = (checkout(), checkout());
    let terms = terms(500, "pm_card_expired");
    for checkout in [refunded, repeated] {
        bench.provider.plan([Fault::AnswerLost]);
        assert_eq!(bench.charge(checkout, &terms).await, Answer::Unavailable);
    }
    let declined = DeclineReason::CardExpired;
    assert_eq!(bench.refund(refunded).await, Answer::Payment(State::Declined(declined)));
    assert_eq!(bench.charge(refunded, &terms).await, Answer::Declined(declined));
    assert_eq!(bench.charge(repeated, &terms).await, Answer::Declined(declined));
    assert_eq!(bench.get(repeated).await, Answer::Payment(State::Declined(declined)));
}

#[tokio::test]
async fn a_refund_whose_answer_did_not_come_gives_back_once_when_it_is_repeated() {
    join_all(SILENT.map(|fault| async move {
        let bench = Bench::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        assert!(bench.charge(checkout, &terms).await.is_charged());
        bench.provider.plan([fault]);
        assert_eq!(bench.refund(checkout).await, Answer::Unavailable, "{fault:?}");
        assert_eq!(
            bench.refund(checkout).await,
            Answer::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(
            bench.refund(checkout).await,
            Answer::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(bench.books.lines(checkout).await, [1, 0, 1, 0], "{fault:?}");
        assert_eq!(bench.charge(checkout, &terms).await, Answer::Cancelled);
    }))
    .await;
}

#[tokio::test]
async fn a_tombstone_whose_answer_did_not_come_refuses_the_charge_that_comes_next() {
    join_all(SILENT.map(|fault| async move {
        let bench = Bench::with(Setup::impatient()).await;
        let checkout = checkout();
        bench.provider.plan([fault]);
        assert_eq!(bench.refund(checkout).await, Answer::Unavailable, "{fault:?}");
        assert_eq!(bench.row(checkout).await, None, "{fault:?}");
        assert_eq!(
            bench.charge(checkout, &terms(500, "pm_card_ok")).await,
            Answer::Cancelled,
            "{fault:?}"
        );
        assert_eq!(bench.row(checkout).await, Some(State::Cancelled), "{fault:?}");
        assert_eq!(
            bench.refund(checkout).await,
            Answer::Payment(State::Cancelled),
            "{fault:?}"
        );
        assert_eq!(bench.books.lines(checkout).await, [0, 0, 0, 1], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_look_up_without_an_answer_says_so_and_leaves_the_payment_open() {
    let bench = Bench::with(Setup::impatient()).await;
    let checkout = checkout();
    bench.provider.plan([
        Fault::AnswerLost,
        Fault::Down,
        Fault::AnswerLost,
        Fault::NeverAnswers,
        Fault::Slow,
    ]);
    assert_eq!(
        bench.charge(checkout, &terms(500, "pm_card_ok")).await,
        Answer::Unavailable
    );
    for _ in 0..4 {
        assert_eq!(bench.get(checkout).await, Answer::Unavailable);
        assert_eq!(bench.row(checkout).await, Some(State::Intent));
    }
    assert_eq!(bench.get(checkout).await, Answer::Payment(State::Succeeded));
}

#[tokio::test]
async fn a_provider_that_is_down_three_times_is_asked_a_fourth_time() {
    let bench = Bench::new().await;
    let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
    bench.provider.plan([Fault::Down; 3]);
    for _ in 0..3 {
        assert_eq!(bench.charge(checkout, &terms).await, Answer::Unavailable);
        assert_eq!(bench.books.held(checkout).await, 0);
    }
    assert!(bench.charge(checkout, &terms).await.is_charged());
    bench.provider.plan([Fault::Down; 3]);
    for _ in 0..3 {
        assert_eq!(bench.refund(checkout).await, Answer::Unavailable);
        assert_eq!(bench.row(checkout).await, Some(State::Succeeded));
    }
    assert_eq!(bench.refund(checkout).await, Answer::Payment(State::Refunded));
    assert_eq!(bench.books.lines(checkout).await, [1, 0, 1, 0]);
}

#[tokio::test]
async fn a_provider_that_is_down_for_ever_costs_nobody_what_is_settled() {
    let bench = Bench::new().await;
    let (paid, declined, open) = (checkout(), checkout(), checkout());
    let (good, bad) = (terms(500, "pm_card_ok"), terms(500, "pm_card_declined"));
    let charged = bench.charge(paid, &good).await;
    assert!(charged.is_charged());
    let refused = bench.charge(declined, &bad).await;
    bench.provider.always(Fault::Down);
    for _ in 0..5 {
        assert_eq!(bench.charge(open, &good).await, Answer::Unavailable);
        assert_eq!(bench.get(open).await, Answer::Unavailable);
        assert_eq!(bench.refund(open).await, Answer::Unavailable);
        assert_eq!(bench.refund(paid).await, Answer::Unavailable);
    }
    assert_eq!(bench.row(open).await, Some(State::Intent));
    assert_eq!(bench.charge(paid, &good).await, charged);
    assert_eq!(bench.get(paid).await, Answer::Payment(State::Succeeded));
    assert_eq!(bench.charge(declined, &bad).await, refused);
    assert_eq!(
        bench.refund(declined).await,
        Answer::Payment(State::Declined(DeclineReason::CardDeclined))
    );
}

#[tokio::test]
async fn a_charge_that_the_provider_never_heard_of_is_pending() {
    let (bench, checkout) = (Bench::new().await, checkout());
    bench.provider.plan([Fault::Down]);
    assert_eq!(
        bench.charge(checkout, &terms(500, "pm_card_ok")).await,
        Answer::Unavailable
    );
    assert_eq!(bench.get(checkout).await, Answer::Payment(State::Intent));
    assert_eq!(bench.refund(checkout).await, Answer::Payment(State::Cancelled));
    assert_eq!(bench.get(checkout).await, Answer::Payment(State::Cancelled));
}
