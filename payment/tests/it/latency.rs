//! A provider that takes its time.

use std::time::{Duration, Instant};

use futures::future::join;
use payment::{domain::State, ports::PaymentProvider};

use crate::bench::{Answer, Bench, Fault, PATIENCE, Setup, checkout, terms};

#[tokio::test]
async fn a_provider_slower_than_the_timeout_still_charges_and_refunds_in_its_own_time() {
    let setup = Setup {
        timeout: Duration::from_millis(20),
        latency: Duration::from_millis(200),
        ..Setup::default()
    };
    let bench = Bench::with(setup).await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
    assert_eq!(bench.charge(checkout, &terms).await, Answer::Unavailable);
    assert_eq!(bench.books.lines(checkout).await, [0; 4]);
    // The provider goes on after its caller has hung up.
    while bench.provider.find(checkout).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.refund(checkout).await, Answer::Unavailable);
    while bench.books.lines(checkout).await != [1, 0, 1, 0] {
        tokio::task::yield_now().await;
    }
    let bench = bench.restarted(Setup::default()).await;
    assert_eq!(bench.get(checkout).await, Answer::Payment(State::Refunded));
}

#[tokio::test]
async fn latency_is_for_new_work_and_what_is_done_is_answered_at_once() {
    let latency = Duration::from_millis(100);
    let bench = Bench::with(Setup {
        latency,
        ..Setup::default()
    })
    .await;
    let (again, given_back, terms) = (checkout(), checkout(), terms(100, "pm_card_ok"));
    let began = Instant::now();
    bench.provider.plan([Fault::AnswerLost, Fault::None, Fault::AnswerLost]);
    assert_eq!(bench.charge(again, &terms).await, Answer::Unavailable);
    assert!(bench.charge(given_back, &terms).await.is_charged());
    assert_eq!(bench.refund(given_back).await, Answer::Unavailable);
    assert!(began.elapsed() >= latency * 3);

    let bench = bench
        .restarted(Setup {
            latency: PATIENCE * 2,
            ..Setup::default()
        })
        .await;
    assert!(bench.charge(again, &terms).await.is_charged());
    assert_eq!(bench.refund(given_back).await, Answer::Payment(State::Refunded));
}

#[tokio::test]
async fn a_provider_that_closes_down_drops_what_it_has_not_done() {
    let bench = Bench::with(Setup {
        latency: PATIENCE * 2,
        ..Setup::default()
    })
    .await;
    let (checkout, terms) = (checkout(), terms(100, "pm_card_ok"));
    let closing = async {
        // The charge has begun when its intent is there.
        while bench.row(checkout).await.is_none() {
            tokio::task::yield_now().await;
        }
        bench.runtime.tasks.stop(PATIENCE).await
    };
    let (answer, closed) = join(bench.charge(checkout, &terms), closing).await;
    assert_eq!((answer, closed), (Answer::Unavailable, true));
    assert_eq!(bench.books.lines(checkout).await, [0; 4]);
    assert_eq!(bench.row(checkout).await, Some(State::Intent));
}
