//! A provider that takes its time.

use std::time::{Duration, Instant};

use futures::future::join;
use payment::{domain::State, ports::PaymentProvider};

use crate::harness::{Answer, Fault, Harness, PATIENCE, Setup, checkout, terms};

#[tokio::test]
async fn a_provider_slower_than_the_timeout_still_charges_and_refunds_in_its_own_time() {
    let setup = Setup {
        timeout: Duration::from_millis(20),
        latency: Duration::from_millis(200),
        ..Setup::default()
    };
    let harness = Harness::with(setup).await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
    assert_eq!(harness.charge(checkout, &terms).await, Answer::Unavailable);
    assert_eq!(harness.books.lines(checkout).await, [0; 4]);
    // The provider goes on after its caller has hung up.
    while harness.provider.find(checkout).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(harness.refund(checkout).await, Answer::Unavailable);
    while harness.books.lines(checkout).await != [1, 0, 1, 0] {
        tokio::task::yield_now().await;
    }
    let harness = harness.restarted(Setup::default()).await;
    assert_eq!(harness.get(checkout).await, Answer::Payment(State::Refunded));
}

#[tokio::test]
async fn latency_is_for_new_work_and_what_is_done_is_answered_at_once() {
    let latency = Duration::from_millis(100);
    let harness = Harness::with(Setup {
        latency,
        ..Setup::default()
    })
    .await;
    let (again, given_back, terms) = (checkout(), checkout(), terms(100, "pm_card_ok"));
    let began = Instant::now();
    harness
        .provider
        .plan([Fault::AnswerLost, Fault::None, Fault::AnswerLost]);
    assert_eq!(harness.charge(again, &terms).await, Answer::Unavailable);
    assert!(harness.charge(given_back, &terms).await.is_charged());
    assert_eq!(harness.refund(given_back).await, Answer::Unavailable);
    assert!(began.elapsed() >= latency * 3);

    let harness = harness
        .restarted(Setup {
            latency: PATIENCE * 2,
            ..Setup::default()
        })
        .await;
    assert!(harness.charge(again, &terms).await.is_charged());
    assert_eq!(harness.refund(given_back).await, Answer::Payment(State::Refunded));
}

#[tokio::test]
async fn a_provider_that_closes_down_drops_what_it_has_not_done() {
    let harness = Harness::with(Setup {
        latency: PATIENCE * 2,
        ..Setup::default()
    })
    .await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
    let closing = async {
        // The charge has begun when its intent is there.
        while harness.row(checkout).await.is_none() {
            tokio::task::yield_now().await;
        }
        harness.runtime.tasks.stop(PATIENCE).await
    };
    let (answer, closed) = join(harness.charge(checkout, &terms), closing).await;
    assert_eq!((answer, closed), (Answer::Unavailable, true));
    assert_eq!(harness.books.lines(checkout).await, [0; 4]);
    assert_eq!(harness.row(checkout).await, Some(State::Intent));
}
