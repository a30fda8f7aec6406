//! A provider with latency.

use std::time::{Duration, Instant};

use futures::future::join;
use payment::{domain::State, ports::PaymentProvider};

use crate::harness::{Fault, Harness, Outcome, PATIENCE, Setup, checkout, terms};

#[tokio::test]
async fn a_provider_slower_than_the_timeout_still_charges_and_refunds() {
    let setup = Setup {
        timeout: Duration::from_millis(20),
        latency: Duration::from_millis(200),
        ..Setup::default()
    };
    let harness = Harness::with(setup).await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
    assert_eq!(harness.charge(checkout, &terms).await, Outcome::Unknown);
    assert_eq!(harness.audit.row_counts(checkout).await, [0; 4]);
    // The provider goes on after its caller has gone away.
    while harness.provider.find(checkout).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(harness.refund(checkout).await, Outcome::Unknown);
    while harness.audit.row_counts(checkout).await != [1, 0, 1, 0] {
        tokio::task::yield_now().await;
    }
    let harness = harness.restarted(Setup::default()).await;
    assert_eq!(harness.get(checkout).await, Outcome::Payment(State::Refunded));
}

#[tokio::test]
async fn latency_is_for_new_work_and_repetitions_are_answered_at_once() {
    let latency = Duration::from_millis(100);
    let harness = Harness::with(Setup {
        latency,
        ..Setup::default()
    })
    .await;
    let (charged, refunded, terms) = (checkout(), checkout(), terms(100, "pm_card_ok"));
    let began = Instant::now();
    harness
        .provider
        .plan([Fault::AnswerLost, Fault::None, Fault::AnswerLost]);
    assert_eq!(harness.charge(charged, &terms).await, Outcome::Unknown);
    assert!(harness.charge(refunded, &terms).await.is_charged());
    assert_eq!(harness.refund(refunded).await, Outcome::Unknown);
    assert!(began.elapsed() >= latency * 3);

    let harness = harness
        .restarted(Setup {
            latency: PATIENCE * 2,
            ..Setup::default()
        })
        .await;
    assert!(harness.charge(charged, &terms).await.is_charged());
    assert_eq!(harness.refund(refunded).await, Outcome::Payment(State::Refunded));
}

#[tokio::test]
async fn a_provider_that_stops_drops_pending_charges() {
    let harness = Harness::with(Setup {
        latency: PATIENCE * 2,
        ..Setup::default()
    })
    .await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
    let closing = async {
        // The charge has begun once its intent is stored.
        while harness.state(checkout).await.is_none() {
            tokio::task::yield_now().await;
        }
        harness.runtime.tasks.stop(PATIENCE).await
    };
    let (answer, closed) = join(harness.charge(checkout, &terms), closing).await;
    assert_eq!((answer, closed), (Outcome::Unknown, true));
    assert_eq!(harness.audit.row_counts(checkout).await, [0; 4]);
    assert_eq!(harness.state(checkout).await, Some(State::Intent));
}
