//! Restarts after a crash.

use payment::{
    app::Payments,
    domain::{ChargeStatus, CheckoutId, Payment, PaymentDetails, PaymentId, State, Terms},
    ports::{PaymentProvider, ProviderError},
};
use testing::SqliteFixture;

use crate::{
    fixtures::{PostgresFixtures, StoreFixture},
    harness::{Harness, Outcome, Setup, checkout, terms},
};

testing::contract! { recovery_suite:
    a_crash_before_the_provider_was_asked_is_pending_until_it_is_charged_again,
    a_crash_after_the_provider_was_asked_is_resolved_by_get_payment_and_by_charge,
    a_refund_before_a_crash_is_never_shown_as_a_charge,
    every_answer_is_the_same_after_a_restart,
    a_charge_whose_caller_goes_away_is_found_by_get_payment,
    another_amount_at_the_provider_is_an_error_and_settles_nothing,
}

recovery_suite!(sqlite: SqliteFixture, postgres: PostgresFixtures);

/// Records the intent as a charge does, and stops there. Returns the payment id.
async fn crash_after_the_intent(harness: &Harness, checkout: CheckoutId, terms: &Terms) -> PaymentId {
    let payment_id = PaymentId(harness.runtime.ids.next());
    let details = PaymentDetails {
        payment_id,
        terms: terms.clone(),
    };
    harness
        .store
        .record_intent(&Payment::intent(checkout, details, harness.runtime.clock.now()))
        .await
        .unwrap();
    payment_id
}

async fn a_crash_before_the_provider_was_asked_is_pending_until_it_is_charged_again(fixture: &dyn StoreFixture) {
    let (harness, checkout, terms) = (
        Harness::at(fixture, Setup::default()).await,
        checkout(),
        terms(700, "pm_card_ok"),
    );
    let payment_id = crash_after_the_intent(&harness, checkout, &terms).await;
    drop(harness);
    let harness = Harness::at(fixture, Setup::default()).await;
    assert_eq!(harness.get(checkout).await, Outcome::Payment(State::Intent));
    assert_eq!(harness.charge(checkout, &terms).await, Outcome::Charged(payment_id));
    assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 0, 0]);
}

async fn a_crash_after_the_provider_was_asked_is_resolved_by_get_payment_and_by_charge(fixture: &dyn StoreFixture) {
    let harness = Harness::at(fixture, Setup::default()).await;
    let terms = terms(700, "pm_card_ok");
    let (asked, repeated, refunded) = (checkout(), checkout(), checkout());
    let mut ids = Vec::new();
    for checkout in [asked, repeated, refunded] {
        ids.push(crash_after_the_intent(&harness, checkout, &terms).await);
        assert_eq!(
            harness.provider.charge(checkout, &terms).await.unwrap(),
            ChargeStatus::Charged
        );
    }
    drop(harness);
    let harness = Harness::at(fixture, Setup::default()).await;
    assert_eq!(harness.get(asked).await, Outcome::Payment(State::Succeeded));
    assert_eq!(harness.charge(asked, &terms).await, Outcome::Charged(ids[0]));
    assert_eq!(harness.charge(repeated, &terms).await, Outcome::Charged(ids[1]));
    assert_eq!(harness.refund(refunded).await, Outcome::Payment(State::Refunded));
    for checkout in [asked, repeated] {
        assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 0, 0]);
    }
    assert_eq!(harness.audit.row_counts(refunded).await, [1, 0, 1, 0]);
}

async fn a_refund_before_a_crash_is_never_shown_as_a_charge(fixture: &dyn StoreFixture) {
    let harness = Harness::at(fixture, Setup::default()).await;
    let terms = terms(700, "pm_card_ok");
    let (asked, repeated) = (checkout(), checkout());
    for checkout in [asked, repeated] {
        crash_after_the_intent(&harness, checkout, &terms).await;
        harness.provider.charge(checkout, &terms).await.unwrap();
        assert_eq!(harness.provider.refund(checkout).await.unwrap(), ChargeStatus::Refunded);
    }
    drop(harness);
    let harness = Harness::at(fixture, Setup::default()).await;
    assert_eq!(harness.get(asked).await, Outcome::Payment(State::Refunded));
    assert_eq!(harness.charge(repeated, &terms).await, Outcome::Cancelled);
    assert_eq!(harness.state(repeated).await, Some(State::Refunded));
}

async fn every_answer_is_the_same_after_a_restart(fixture: &dyn StoreFixture) {
    let harness = Harness::at(fixture, Setup::default()).await;
    let (good, bad) = (terms(700, "pm_card_ok"), terms(700, "pm_card_invalid_cvc"));
    let (paid, declined, refunded, cancelled) = (checkout(), checkout(), checkout(), checkout());
    harness.charge(refunded, &good).await;
    let before = [
        harness.charge(paid, &good).await,
        harness.charge(declined, &bad).await,
        harness.refund(refunded).await,
        harness.refund(cancelled).await,
    ];
    drop(harness);
    let harness = Harness::at(fixture, Setup::default()).await;
    let after = [
        harness.charge(paid, &good).await,
        harness.charge(declined, &bad).await,
        harness.refund(refunded).await,
        harness.refund(cancelled).await,
    ];
    assert_eq!(before, after);
    assert_eq!(harness.get(paid).await, Outcome::Payment(State::Succeeded));
    assert_eq!(harness.charge(cancelled, &good).await, Outcome::Cancelled);
}

async fn a_charge_whose_caller_goes_away_is_found_by_get_payment(fixture: &dyn StoreFixture) {
    let (harness, checkout, terms) = (
        Harness::at(fixture, Setup::default()).await,
        checkout(),
        terms(700, "pm_card_charged_reply_lost"),
    );
    let payments: Payments = harness.payments.clone();
    let call = harness.runtime.tasks.spawn({
        let terms = terms.clone();
        async move { payments.charge(checkout, terms).await }
    });
    // The provider has recorded the charge, and its answer never comes.
    while harness.provider.find(checkout).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(harness.get(checkout).await, Outcome::Payment(State::Succeeded));
    assert!(harness.charge(checkout, &terms).await.is_charged());
    assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 0, 0]);
}

async fn another_amount_at_the_provider_is_an_error_and_settles_nothing(fixture: &dyn StoreFixture) {
    let (harness, checkout) = (Harness::at(fixture, Setup::default()).await, checkout());
    harness
        .provider
        .charge(checkout, &terms(701, "pm_card_ok"))
        .await
        .unwrap();
    let other = harness.provider.charge(checkout, &terms(700, "pm_card_ok")).await;
    assert!(matches!(other, Err(ProviderError::TermsMismatch)), "{other:?}");
    let charged = harness
        .payments
        .charge(checkout, terms(700, "pm_card_ok"))
        .await
        .unwrap_err();
    let expected = payment::app::DependencyError::Provider(ProviderError::TermsMismatch).to_string();
    assert!(matches!(&charged, payment::app::ChargeError::Dependency(error) if error.to_string() == expected));
    assert_eq!(harness.state(checkout).await, Some(State::Intent), "it is not settled");
}
