//! What a crash leaves behind, and what is there after it.

use payment::{
    app::Payments,
    domain::{CheckoutId, Opened, Payment, PaymentId, Standing, State, Terms},
    ports::{PaymentProvider, ProviderError},
};
use testing::SqliteFixture;

use crate::{
    harness::{Answer, Harness, Setup, checkout, terms},
    places::{PostgresFixtures, Stores},
};

testing::contract! { recovery_suite:
    a_crash_before_the_provider_was_asked_is_pending_until_it_is_charged_again,
    a_crash_after_the_provider_was_asked_is_resolved_by_get_payment_and_by_charge,
    a_crash_after_the_provider_has_refunded_is_never_taken_for_a_charge,
    every_answer_is_the_same_after_a_restart,
    a_caller_that_goes_away_during_its_charge_leaves_one_that_can_be_found,
    a_provider_that_has_another_amount_is_an_alarm_and_no_answer,
}

recovery_suite!(sqlite: SqliteFixture, postgres: PostgresFixtures);

/// Writes the intent as a charge does, and goes no further. Returns its payment id.
async fn crash_after_the_intent(harness: &Harness, checkout: CheckoutId, terms: &Terms) -> PaymentId {
    let payment_id = PaymentId(harness.runtime.ids.next());
    let opened = Opened {
        payment_id,
        terms: terms.clone(),
    };
    harness
        .store
        .open(&Payment::intent(checkout, opened, harness.runtime.clock.now()))
        .await
        .unwrap();
    payment_id
}

async fn a_crash_before_the_provider_was_asked_is_pending_until_it_is_charged_again(place: &dyn Stores) {
    let (harness, checkout, terms) = (
        Harness::at(place, Setup::default()).await,
        checkout(),
        terms(700, "pm_card_ok"),
    );
    let payment_id = crash_after_the_intent(&harness, checkout, &terms).await;
    drop(harness);
    let harness = Harness::at(place, Setup::default()).await;
    assert_eq!(harness.get(checkout).await, Answer::Payment(State::Intent));
    assert_eq!(harness.charge(checkout, &terms).await, Answer::Charged(payment_id));
    assert_eq!(harness.books.lines(checkout).await, [1, 0, 0, 0]);
}

async fn a_crash_after_the_provider_was_asked_is_resolved_by_get_payment_and_by_charge(place: &dyn Stores) {
    let harness = Harness::at(place, Setup::default()).await;
    let terms = terms(700, "pm_card_ok");
    let (asked, repeated, refunded) = (checkout(), checkout(), checkout());
    let mut ids = Vec::new();
    for checkout in [asked, repeated, refunded] {
        ids.push(crash_after_the_intent(&harness, checkout, &terms).await);
        assert_eq!(
            harness.provider.charge(checkout, &terms).await.unwrap(),
            Standing::Charged
        );
    }
    drop(harness);
    let harness = Harness::at(place, Setup::default()).await;
    assert_eq!(harness.get(asked).await, Answer::Payment(State::Succeeded));
    assert_eq!(harness.charge(asked, &terms).await, Answer::Charged(ids[0]));
    assert_eq!(harness.charge(repeated, &terms).await, Answer::Charged(ids[1]));
    assert_eq!(harness.refund(refunded).await, Answer::Payment(State::Refunded));
    for checkout in [asked, repeated] {
        assert_eq!(harness.books.lines(checkout).await, [1, 0, 0, 0]);
    }
    assert_eq!(harness.books.lines(refunded).await, [1, 0, 1, 0]);
}

async fn a_crash_after_the_provider_has_refunded_is_never_taken_for_a_charge(place: &dyn Stores) {
    let harness = Harness::at(place, Setup::default()).await;
    let terms = terms(700, "pm_card_ok");
    let (asked, repeated) = (checkout(), checkout());
    for checkout in [asked, repeated] {
        crash_after_the_intent(&harness, checkout, &terms).await;
        harness.provider.charge(checkout, &terms).await.unwrap();
        assert_eq!(harness.provider.refund(checkout).await.unwrap(), Standing::Refunded);
    }
    drop(harness);
    let harness = Harness::at(place, Setup::default()).await;
    assert_eq!(harness.get(asked).await, Answer::Payment(State::Refunded));
    assert_eq!(harness.charge(repeated, &terms).await, Answer::Cancelled);
    assert_eq!(harness.row(repeated).await, Some(State::Refunded));
}

async fn every_answer_is_the_same_after_a_restart(place: &dyn Stores) {
    let harness = Harness::at(place, Setup::default()).await;
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
    let harness = Harness::at(place, Setup::default()).await;
    let after = [
        harness.charge(paid, &good).await,
        harness.charge(declined, &bad).await,
        harness.refund(refunded).await,
        harness.refund(cancelled).await,
    ];
    assert_eq!(before, after);
    assert_eq!(harness.get(paid).await, Answer::Payment(State::Succeeded));
    assert_eq!(harness.charge(cancelled, &good).await, Answer::Cancelled);
}

async fn a_caller_that_goes_away_during_its_charge_leaves_one_that_can_be_found(place: &dyn Stores) {
    let (harness, checkout, terms) = (
        Harness::at(place, Setup::default()).await,
        checkout(),
        terms(700, "pm_card_charged_reply_lost"),
    );
    let payments: Payments = harness.payments.clone();
    let call = harness.runtime.tasks.spawn({
        let terms = terms.clone();
        async move { payments.charge(checkout, terms).await }
    });
    // The provider has written the charge, and its answer will not come.
    while harness.provider.find(checkout).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(harness.get(checkout).await, Answer::Payment(State::Succeeded));
    assert!(harness.charge(checkout, &terms).await.is_charged());
    assert_eq!(harness.books.lines(checkout).await, [1, 0, 0, 0]);
}

async fn a_provider_that_has_another_amount_is_an_alarm_and_no_answer(place: &dyn Stores) {
    let (harness, checkout) = (Harness::at(place, Setup::default()).await, checkout());
    harness
        .provider
        .charge(checkout, &terms(701, "pm_card_ok"))
        .await
        .unwrap();
    let other = harness.provider.charge(checkout, &terms(700, "pm_card_ok")).await;
    assert!(matches!(other, Err(ProviderError::OtherCharge)), "{other:?}");
    let charged = harness
        .payments
        .charge(checkout, terms(700, "pm_card_ok"))
        .await
        .unwrap_err();
    let expected = payment::app::Failure::Provider(ProviderError::OtherCharge).to_string();
    assert!(matches!(&charged, payment::app::ChargeError::Failed(failure) if failure.to_string() == expected));
    assert_eq!(harness.row(checkout).await, Some(State::Intent), "it is still open");
}
