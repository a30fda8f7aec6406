//! Every fault of the provider, for each use case.

use futures::future::join_all;
use payment::domain::{DeclineReason, State};

use crate::harness::{Fault, Harness, Outcome, Setup, checkout, terms};

/// Faults after which the provider has executed the call and the caller does not know.
const ANSWER_MISSING: [Fault; 3] = [Fault::AnswerLost, Fault::NeverAnswers, Fault::Slow];

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_is_found_by_get_payment() {
    join_all(ANSWER_MISSING.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let checkout = checkout();
        harness.provider.plan([fault]);
        assert_eq!(
            harness.charge(checkout, &terms(500, "pm_card_ok")).await,
            Outcome::Unknown,
            "{fault:?}"
        );
        assert_eq!(harness.state(checkout).await, Some(State::Intent), "{fault:?}");
        assert_eq!(
            harness.get(checkout).await,
            Outcome::Payment(State::Succeeded),
            "{fault:?}"
        );
        assert_eq!(harness.state(checkout).await, Some(State::Succeeded), "{fault:?}");
        assert_eq!(harness.audit.net_charged(checkout).await, 500, "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_is_charged_once_when_it_is_repeated() {
    join_all(ANSWER_MISSING.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        harness.provider.plan([fault]);
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown, "{fault:?}");
        let charged = harness.charge(checkout, &terms).await;
        assert!(charged.is_charged(), "{fault:?}: {charged:?}");
        assert_eq!(harness.charge(checkout, &terms).await, charged);
        assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 0, 0], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_charge_whose_answer_did_not_come_can_be_refunded() {
    join_all(ANSWER_MISSING.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        harness.provider.plan([fault]);
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown, "{fault:?}");
        assert_eq!(
            harness.refund(checkout).await,
            Outcome::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Cancelled, "{fault:?}");
        assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 1, 0], "{fault:?}");
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
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown);
    }
    let declined = DeclineReason::CardExpired;
    assert_eq!(
        harness.refund(refunded).await,
        Outcome::Payment(State::Declined(declined))
    );
    assert_eq!(harness.charge(refunded, &terms).await, Outcome::Declined(declined));
    assert_eq!(harness.charge(repeated, &terms).await, Outcome::Declined(declined));
    assert_eq!(harness.get(repeated).await, Outcome::Payment(State::Declined(declined)));
}

#[tokio::test]
async fn a_refund_whose_answer_did_not_come_is_refunded_once_when_it_is_repeated() {
    join_all(ANSWER_MISSING.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
        assert!(harness.charge(checkout, &terms).await.is_charged());
        harness.provider.plan([fault]);
        assert_eq!(harness.refund(checkout).await, Outcome::Unknown, "{fault:?}");
        assert_eq!(
            harness.refund(checkout).await,
            Outcome::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(
            harness.refund(checkout).await,
            Outcome::Payment(State::Refunded),
            "{fault:?}"
        );
        assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 1, 0], "{fault:?}");
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Cancelled);
    }))
    .await;
}

#[tokio::test]
async fn a_tombstone_whose_answer_did_not_come_refuses_the_next_charge() {
    join_all(ANSWER_MISSING.map(|fault| async move {
        let harness = Harness::with(Setup::impatient()).await;
        let checkout = checkout();
        harness.provider.plan([fault]);
        assert_eq!(harness.refund(checkout).await, Outcome::Unknown, "{fault:?}");
        assert_eq!(harness.state(checkout).await, None, "{fault:?}");
        assert_eq!(
            harness.charge(checkout, &terms(500, "pm_card_ok")).await,
            Outcome::Cancelled,
            "{fault:?}"
        );
        assert_eq!(harness.state(checkout).await, Some(State::Cancelled), "{fault:?}");
        assert_eq!(
            harness.refund(checkout).await,
            Outcome::Payment(State::Cancelled),
            "{fault:?}"
        );
        assert_eq!(harness.audit.row_counts(checkout).await, [0, 0, 0, 1], "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_query_without_an_answer_is_unavailable_and_settles_nothing() {
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
        Outcome::Unknown
    );
    for _ in 0..4 {
        assert_eq!(harness.get(checkout).await, Outcome::Unknown);
        assert_eq!(harness.state(checkout).await, Some(State::Intent));
    }
    assert_eq!(harness.get(checkout).await, Outcome::Payment(State::Succeeded));
}

#[tokio::test]
async fn a_charge_and_a_refund_succeed_after_the_provider_was_down_three_times() {
    let harness = Harness::new().await;
    let (checkout, terms) = (checkout(), terms(500, "pm_card_ok"));
    harness.provider.plan([Fault::Down; 3]);
    for _ in 0..3 {
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown);
        assert_eq!(harness.audit.net_charged(checkout).await, 0);
    }
    assert!(harness.charge(checkout, &terms).await.is_charged());
    harness.provider.plan([Fault::Down; 3]);
    for _ in 0..3 {
        assert_eq!(harness.refund(checkout).await, Outcome::Unknown);
        assert_eq!(harness.state(checkout).await, Some(State::Succeeded));
    }
    assert_eq!(harness.refund(checkout).await, Outcome::Payment(State::Refunded));
    assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 1, 0]);
}

#[tokio::test]
async fn settled_payments_are_answered_while_the_provider_is_down() {
    let harness = Harness::new().await;
    let (paid, declined, open) = (checkout(), checkout(), checkout());
    let (good, bad) = (terms(500, "pm_card_ok"), terms(500, "pm_card_declined"));
    let charged = harness.charge(paid, &good).await;
    assert!(charged.is_charged());
    let refused = harness.charge(declined, &bad).await;
    harness.provider.always(Fault::Down);
    for _ in 0..5 {
        assert_eq!(harness.charge(open, &good).await, Outcome::Unknown);
        assert_eq!(harness.get(open).await, Outcome::Unknown);
        assert_eq!(harness.refund(open).await, Outcome::Unknown);
        assert_eq!(harness.refund(paid).await, Outcome::Unknown);
    }
    assert_eq!(harness.state(open).await, Some(State::Intent));
    assert_eq!(harness.charge(paid, &good).await, charged);
    assert_eq!(harness.get(paid).await, Outcome::Payment(State::Succeeded));
    assert_eq!(harness.charge(declined, &bad).await, refused);
    assert_eq!(
        harness.refund(declined).await,
        Outcome::Payment(State::Declined(DeclineReason::CardDeclined))
    );
}

#[tokio::test]
async fn a_charge_that_never_reached_the_provider_is_pending() {
    let (harness, checkout) = (Harness::new().await, checkout());
    harness.provider.plan([Fault::Down]);
    assert_eq!(
        harness.charge(checkout, &terms(500, "pm_card_ok")).await,
        Outcome::Unknown
    );
    assert_eq!(harness.get(checkout).await, Outcome::Payment(State::Intent));
    assert_eq!(harness.refund(checkout).await, Outcome::Payment(State::Cancelled));
    assert_eq!(harness.get(checkout).await, Outcome::Payment(State::Cancelled));
}
