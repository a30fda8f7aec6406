//! The test methods of the simulated provider, through the use cases.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use payment::{
    app::{ChargeError, Payments},
    domain::{ChargeStatus, CheckoutId, DeclineReason, State, Terms},
    ports::{PaymentProvider, ProviderError},
};
use runtime::Ids;
use uuid::Uuid;

use crate::harness::{Harness, Outcome, PATIENCE, Setup, checkout, terms};

#[tokio::test]
async fn each_bad_card_is_declined_for_its_reason_every_time() {
    let harness = Harness::new().await;
    for (method, reason) in [
        ("pm_card_declined", DeclineReason::CardDeclined),
        ("pm_card_insufficient_funds", DeclineReason::InsufficientFunds),
        ("pm_card_expired", DeclineReason::CardExpired),
        ("pm_card_invalid_cvc", DeclineReason::InvalidCvc),
        ("pm_card_of_nobody", DeclineReason::InvalidPaymentMethod),
    ] {
        let (checkout, terms) = (checkout(), terms(100, method));
        for _ in 0..3 {
            assert_eq!(
                harness.charge(checkout, &terms).await,
                Outcome::Declined(reason),
                "{method}"
            );
        }
        assert_eq!(
            harness.get(checkout).await,
            Outcome::Payment(State::Declined(reason)),
            "{method}"
        );
        assert_eq!(
            harness.refund(checkout).await,
            Outcome::Payment(State::Declined(reason)),
            "{method}"
        );
        assert_eq!(
            harness.charge(checkout, &terms).await,
            Outcome::Declined(reason),
            "{method}"
        );
        assert_eq!(harness.audit.row_counts(checkout).await, [0, 1, 0, 0], "{method}");
        assert_eq!(
            harness.audit.attempts(checkout).await,
            1,
            "{method}: later answers come from the store"
        );
    }
}

#[tokio::test]
async fn a_card_whose_reply_is_lost_or_slow_is_charged_and_answers_the_second_time() {
    for method in ["pm_card_charged_reply_lost", "pm_card_slow"] {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(100, method));
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown, "{method}");
        assert_eq!(harness.state(checkout).await, Some(State::Intent), "{method}");
        assert_eq!(harness.audit.net_charged(checkout).await, 100, "{method}");
        assert!(harness.charge(checkout, &terms).await.is_charged(), "{method}");
        assert_eq!(harness.audit.row_counts(checkout).await, [1, 0, 0, 0], "{method}");
        assert_eq!(harness.audit.attempts(checkout).await, 2, "{method}");
    }
}

#[tokio::test]
async fn the_first_attempt_is_still_the_first_after_a_restart() {
    let harness = Harness::with(Setup::impatient()).await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_charged_reply_lost"));
    assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown);
    let harness = harness.restarted(Setup::default()).await;
    assert!(harness.charge(checkout, &terms).await.is_charged());
}

#[tokio::test]
async fn an_unavailable_card_is_charged_at_its_fourth_attempt_also_with_restarts_between() {
    let mut harness = Harness::new().await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_unavailable"));
    for attempt in 1..=3 {
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown);
        assert_eq!(harness.audit.attempts(checkout).await, attempt);
        assert_eq!(harness.audit.row_counts(checkout).await, [0; 4]);
        assert_eq!(harness.get(checkout).await, Outcome::Payment(State::Intent));
        harness = harness.restarted(Setup::default()).await;
    }
    assert!(harness.charge(checkout, &terms).await.is_charged());
    assert_eq!(harness.audit.net_charged(checkout).await, 100);
}

#[tokio::test]
async fn an_unavailable_card_can_be_cancelled_while_it_is_unavailable() {
    let harness = Harness::new().await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_unavailable"));
    assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown);
    assert_eq!(harness.refund(checkout).await, Outcome::Payment(State::Cancelled));
    for _ in 0..4 {
        assert_eq!(harness.charge(checkout, &terms).await, Outcome::Cancelled);
    }
    assert_eq!(harness.audit.row_counts(checkout).await, [0, 0, 0, 1]);
}

/// Ids whose lower half counts up: it seeds the provider's random numbers.
fn counted_ids() -> Ids {
    let next = AtomicU64::new(1);
    Ids::from_fn(move || Uuid::from_u64_pair(0x0190_0000_0000_7000, next.fetch_add(1, Ordering::Relaxed)))
}

/// Which of so many charges succeed at this rate.
async fn successes(success_rate: &'static str, charges: usize) -> Vec<bool> {
    let harness = Harness::with(Setup {
        success_rate,
        ids: counted_ids(),
        ..Setup::default()
    })
    .await;
    let mut successes = Vec::new();
    for _ in 0..charges {
        let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
        let answer = harness.charge(checkout, &terms).await;
        assert!(answer.is_charged() || answer == Outcome::Declined(DeclineReason::CardDeclined));
        assert_eq!(
            harness.charge(checkout, &terms).await,
            answer,
            "the first decision stands"
        );
        successes.push(answer.is_charged());
    }
    successes
}

#[tokio::test]
async fn the_success_rate_declines_the_same_charges_for_the_same_ids() {
    let half = successes("0.5", 60).await;
    let good = half.iter().filter(|succeeds| **succeeds).count();
    assert!((10..=50).contains(&good), "{good} of 60");
    assert_eq!(half, successes("0.5", 60).await);
    assert!(successes("0.0", 10).await.iter().all(|succeeds| !succeeds));
    assert!(successes("1.0", 10).await.iter().all(|succeeds| *succeeds));
}

#[tokio::test]
async fn the_success_rate_does_not_apply_to_other_test_methods() {
    let harness = Harness::with(Setup {
        success_rate: "0",
        ..Setup::default()
    })
    .await;
    let (unavailable, expired) = (checkout(), checkout());
    for _ in 0..3 {
        harness.charge(unavailable, &terms(1, "pm_card_unavailable")).await;
    }
    assert!(
        harness
            .charge(unavailable, &terms(1, "pm_card_unavailable"))
            .await
            .is_charged()
    );
    let answer = harness.charge(expired, &terms(1, "pm_card_expired")).await;
    assert_eq!(answer, Outcome::Declined(DeclineReason::CardExpired));
}

/// Another provider, with one card of its own.
struct OtherBank;

#[async_trait::async_trait]
impl PaymentProvider for OtherBank {
    async fn charge(&self, _: CheckoutId, terms: &Terms) -> Result<ChargeStatus, ProviderError> {
        Ok(match terms.method.as_str() {
            "card_4711" => ChargeStatus::Charged,
            _ => ChargeStatus::Declined(DeclineReason::InvalidPaymentMethod),
        })
    }

    async fn refund(&self, _: CheckoutId) -> Result<ChargeStatus, ProviderError> {
        Err(ProviderError::unknown("not supported"))
    }

    async fn find(&self, _: CheckoutId) -> Result<Option<ChargeStatus>, ProviderError> {
        Ok(None)
    }
}

#[tokio::test]
async fn another_provider_accepts_no_test_method() {
    let harness = Harness::new().await;
    let payments = Payments::new(harness.store.clone(), Arc::new(OtherBank), PATIENCE, &harness.runtime);
    let charge = async |method| payments.charge(checkout(), terms(100, method)).await.map(drop);
    charge("card_4711").await.unwrap();
    for method in ["pm_card_ok", "pm_card_slow", "pm_card_declined"] {
        let refused = charge(method).await.unwrap_err();
        assert!(
            matches!(refused, ChargeError::Declined(DeclineReason::InvalidPaymentMethod)),
            "{method}: {refused:?}"
        );
    }
}
