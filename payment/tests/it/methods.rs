//! The test methods of the simulated provider, through the use cases.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use payment::{
    app::{ChargeError, Payments},
    domain::{CheckoutId, DeclineReason, Standing, State, Terms},
    ports::{PaymentProvider, ProviderError},
};
use runtime::Ids;
use uuid::Uuid;

use crate::harness::{Answer, Harness, PATIENCE, Setup, checkout, terms};

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
                Answer::Declined(reason),
                "{method}"
            );
        }
        assert_eq!(
            harness.get(checkout).await,
            Answer::Payment(State::Declined(reason)),
            "{method}"
        );
        assert_eq!(
            harness.refund(checkout).await,
            Answer::Payment(State::Declined(reason)),
            "{method}"
        );
        assert_eq!(
            harness.charge(checkout, &terms).await,
            Answer::Declined(reason),
            "{method}"
        );
        assert_eq!(harness.books.lines(checkout).await, [0, 1, 0, 0], "{method}");
        assert_eq!(
            harness.books.attempts(checkout).await,
            1,
            "{method}: the answer is in our row"
        );
    }
}

#[tokio::test]
async fn a_card_whose_reply_is_lost_or_slow_is_charged_and_answers_the_second_time() {
    for method in ["pm_card_charged_reply_lost", "pm_card_slow"] {
        let harness = Harness::with(Setup::impatient()).await;
        let (checkout, terms) = (checkout(), terms(100, method));
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable, "{method}");
        assert_eq!(harness.row(checkout).await, Some(State::Intent), "{method}");
        assert_eq!(harness.books.held(checkout).await, 100, "{method}");
        assert!(harness.charge(checkout, &terms).await.is_charged(), "{method}");
        assert_eq!(harness.books.lines(checkout).await, [1, 0, 0, 0], "{method}");
        assert_eq!(harness.books.attempts(checkout).await, 2, "{method}");
    }
}

#[tokio::test]
async fn the_first_attempt_is_still_the_first_after_a_restart() {
    let harness = Harness::with(Setup::impatient()).await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_charged_reply_lost"));
    assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable);
    let harness = harness.restarted(Setup::default()).await;
    assert!(harness.charge(checkout, &terms).await.is_charged());
}

#[tokio::test]
async fn an_unavailable_card_moves_no_money_until_its_fourth_attempt_whatever_restarts_between() {
    let mut harness = Harness::new().await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_unavailable"));
    for attempt in 1..=3 {
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable);
        assert_eq!(harness.books.attempts(checkout).await, attempt);
        assert_eq!(harness.books.lines(checkout).await, [0; 4]);
        assert_eq!(harness.get(checkout).await, Answer::Payment(State::Intent));
        harness = harness.restarted(Setup::default()).await;
    }
    assert!(harness.charge(checkout, &terms).await.is_charged());
    assert_eq!(harness.books.held(checkout).await, 100);
}

#[tokio::test]
async fn an_unavailable_card_can_be_cancelled_while_it_is_unavailable() {
    let harness = Harness::new().await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_unavailable"));
    assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable);
    assert_eq!(harness.refund(checkout).await, Answer::Payment(State::Cancelled));
    for _ in 0..4 {
        assert_eq!(harness.charge(checkout, &terms).await, Answer::Cancelled);
    }
    assert_eq!(harness.books.lines(checkout).await, [0, 0, 0, 1]);
}

/// Ids that a test knows: their lower half, the seed of the provider's luck, counts up.
fn counted_ids() -> Ids {
    let next = AtomicU64::new(1);
    Ids::from_fn(move || Uuid::from_u64_pair(0x0190_0000_0000_7000, next.fetch_add(1, Ordering::Relaxed)))
}

async fn lucky(success_rate: &'static str, charges: usize) -> Vec<bool> {
    let harness = Harness::with(Setup {
        success_rate,
        ids: counted_ids(),
        ..Setup::default()
    })
    .await;
    let mut lucky = Vec::new();
    for _ in 0..charges {
        let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
        let answer = harness.charge(checkout, &terms).await;
        assert!(answer.is_charged() || answer == Answer::Declined(DeclineReason::CardDeclined));
        assert_eq!(
            harness.charge(checkout, &terms).await,
            answer,
            "luck is not tried twice"
        );
        lucky.push(answer.is_charged());
    }
    lucky
}

#[tokio::test]
async fn the_success_rate_declines_good_cards_the_same_ones_for_the_same_ids() {
    let half = lucky("0.5", 60).await;
    let good = half.iter().filter(|lucky| **lucky).count();
    assert!((10..=50).contains(&good), "{good} of 60");
    assert_eq!(half, lucky("0.5", 60).await);
    assert!(lucky("0.0", 10).await.iter().all(|lucky| !lucky));
    assert!(lucky("1.0", 10).await.iter().all(|lucky| *lucky));
}

#[tokio::test]
async fn the_success_rate_leaves_the_other_methods_alone() {
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
    assert_eq!(answer, Answer::Declined(DeclineReason::CardExpired));
}

/// A provider that knows one card.
struct Bank;

#[async_trait::async_trait]
impl PaymentProvider for Bank {
    async fn charge(&self, _: CheckoutId, terms: &Terms) -> Result<Standing, ProviderError> {
        Ok(match terms.method.as_str() {
            "card_4711" => Standing::Charged,
            _ => Standing::Declined(DeclineReason::InvalidPaymentMethod),
        })
    }

    async fn refund(&self, _: CheckoutId) -> Result<Standing, ProviderError> {
        Err(ProviderError::unknown("nobody asked for one"))
    }

    async fn find(&self, _: CheckoutId) -> Result<Option<Standing>, ProviderError> {
        Ok(None)
    }
}

#[tokio::test]
async fn another_provider_takes_no_test_method() {
    let harness = Harness::new().await;
    let payments = Payments::new(harness.store.clone(), Arc::new(Bank), PATIENCE, &harness.runtime);
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
