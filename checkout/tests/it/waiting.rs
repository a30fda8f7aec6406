//! Clients that wait, time out or hang up, and processes that stop.

use std::{future::Future, time::Duration};

use checkout::{app::initiate_checkout::InitiateError, domain::Status, saga::State};
use futures::poll;
use saga::PERMITS;
use tokio::{task::yield_now, time::Instant};

use crate::{
    fake_peers::{Fault, PeerCall},
    harness::{Harness, TIMEOUT, paid_with, request},
};

const A_MOMENT: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn a_client_that_times_out_gets_the_state_so_far_and_the_end_with_a_later_request() {
    let harness = Harness::new();
    let pause = harness.peers.pause_after(PeerCall::Charge);
    let timeout = Duration::from_secs(5);
    let began = Instant::now();
    let first = harness.checkouts.initiate(request("k"), timeout).await.unwrap();
    assert!(began.elapsed() >= timeout && began.elapsed() < timeout + A_MOMENT);
    assert_eq!(
        (first.replayed, first.checkout.status()),
        (false, Status::PaymentPending)
    );
    let second = harness.checkouts.initiate(request("k"), timeout).await.unwrap();
    assert!(began.elapsed() < (timeout + A_MOMENT) * 2);
    assert!(second.replayed);
    assert_eq!(second.checkout, first.checkout);
    let waiting = harness.spawn_purchase(request("k"));
    yield_now().await;
    pause.resume();
    let end = waiting.await.unwrap().unwrap();
    assert_eq!((end.replayed, end.checkout.status()), (true, Status::Completed));
    assert_eq!(harness.initiate(request("k")).await.unwrap().checkout, end.checkout);
    harness.assert_consistent("timeout").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_timeout_of_zero_is_answered_at_once() {
    let harness = Harness::new();
    let pause = harness.peers.pause_before(PeerCall::Reserve);
    let began = Instant::now();
    let answer = harness.checkouts.initiate(request("k"), Duration::ZERO).await.unwrap();
    assert!(began.elapsed() < A_MOMENT);
    assert_eq!(answer.checkout.status(), Status::Initiated);
    pause.resume();
    harness.wait_for_end(answer.checkout.id).await;
    harness.assert_consistent("timeout of zero").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_keeps_waiting_while_the_journal_is_unavailable_and_gets_the_end_or_the_last_known_state() {
    let harness = Harness::new();
    let pause = harness.peers.pause_before(PeerCall::Charge);
    let waits = harness.spawn_purchase(request("k"));
    pause.reached().await;
    harness.journal.make_get_unavailable(true);
    let short = harness
        .checkouts
        .initiate(request("k"), Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!((short.replayed, short.checkout.state.is_terminal()), (true, false));
    pause.resume();
    let end = waits.await.unwrap().unwrap();
    assert_eq!(end.checkout.status(), Status::Completed);
    harness.journal.make_get_unavailable(false);
    assert_eq!(harness.get(short.checkout.id).await, end.checkout);
    harness.assert_consistent("unavailable").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_the_end_of_a_saga_in_another_process() {
    let harness = Harness::new();
    let pause = harness.peers.pause_before(PeerCall::Charge);
    let here = harness.spawn_purchase(request("k"));
    pause.reached().await;
    let elsewhere = harness.another("other");
    let there = elsewhere.spawn_purchase(request("k"));
    yield_now().await;
    pause.resume();
    let (here, there) = (here.await.unwrap().unwrap(), there.await.unwrap().unwrap());
    assert_eq!((here.replayed, there.replayed), (false, true));
    assert_eq!(here.checkout, there.checkout);
    assert_eq!(there.checkout.state, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn no_saga_begins_without_a_free_permit() {
    let harness = Harness::new();
    let pauses: Vec<_> = (0..PERMITS)
        .map(|_| harness.peers.pause_before(PeerCall::Reserve))
        .collect();
    let key = |n| request(&format!("k{n}"));
    let buying: Vec<_> = (0..PERMITS).map(|n| harness.spawn_purchase(key(n))).collect();
    for pause in &pauses {
        pause.reached().await;
    }
    let timeout = Duration::from_secs(5);
    let one_more = harness.checkouts.initiate(request("one more"), timeout).await;
    assert!(matches!(one_more, Err(InitiateError::Busy)), "{one_more:?}");
    assert_eq!(harness.checkouts().await.len(), PERMITS);
    let known = harness.checkouts.initiate(key(0), Duration::ZERO).await.unwrap();
    assert!(known.replayed, "a request for a running saga needs no permit");
    let waiting = harness.spawn_purchase(request("one more"));
    yield_now().await;
    for pause in pauses {
        pause.resume();
    }
    assert_eq!(waiting.await.unwrap().unwrap().checkout.status(), Status::Completed);
    for bought in buying {
        assert_eq!(bought.await.unwrap().unwrap().checkout.status(), Status::Completed);
    }
    harness.assert_consistent("many").await;
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_waits_to_retry_returns_its_permit() {
    let harness = Harness::new();
    harness.peers.always(PeerCall::Confirm, Fault::NeverArrives);
    let timeout = Duration::from_secs(5);
    for n in 0..PERMITS {
        let stuck = harness
            .checkouts
            .initiate(request(&format!("k{n}")), Duration::ZERO)
            .await;
        assert!(!stuck.unwrap().checkout.state.is_terminal());
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    // A declined purchase makes no Confirm, so it is not stuck.
    let other = harness
        .checkouts
        .initiate(paid_with("other", "pm_card_declined"), timeout)
        .await;
    assert_eq!(other.unwrap().checkout.status(), Status::Failed);
    harness.peers.clear_faults();
    for checkout in harness.checkouts().await {
        harness.wait_for_end(checkout.id).await;
    }
    harness.assert_consistent("many tries").await;
}

/// Polls the future at most this often, then drops it. True if it was ready.
async fn drop_after(polls: usize, initiate: impl Future) -> bool {
    let mut initiate = Box::pin(initiate);
    for _ in 0..polls {
        if poll!(initiate.as_mut()).is_ready() {
            return true;
        }
        yield_now().await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_at_any_moment_changes_nothing() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        for fault in [None, Some(Fault::AnswerLost)] {
            // Dropped before the saga began, after it began, and not dropped.
            let mut seen = [0; 3];
            for polls in 0..40 {
                let harness = Harness::new();
                harness.peers.script(PeerCall::Charge, [fault]);
                let done = drop_after(polls, harness.checkouts.initiate(paid_with("k", method), TIMEOUT)).await;
                // A saga that has begun ends without its client.
                tokio::time::sleep(Duration::from_mins(1)).await;
                let what = format!("{method}, {fault:?}, dropped after {polls} polls");
                harness.assert_consistent(&what).await;
                let begun = harness.checkouts().await;
                seen[if done { 2 } else { begun.len() }] += 1;
                let repeated = harness.initiate(paid_with("k", method)).await.unwrap();
                assert_eq!(repeated.replayed, !begun.is_empty(), "{what}");
                let expected = if method == "pm_card_ok" {
                    Status::Completed
                } else {
                    Status::Failed
                };
                assert_eq!(repeated.checkout.status(), expected, "{what}");
                harness.only_checkout().await;
                harness.assert_consistent(&what).await;
            }
            assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_finishes_its_running_sagas() {
    let harness = Harness::new();
    let pause = harness.peers.pause_before(PeerCall::Charge);
    let buying = harness.spawn_purchase(request("k"));
    pause.reached().await;
    pause.resume();
    assert!(harness.runtime.tasks.stop(Duration::from_mins(1)).await);
    assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
    harness.assert_consistent("stopped").await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_does_not_wait_for_retries() {
    let harness = Harness::new();
    harness.peers.always(PeerCall::Confirm, Fault::NeverArrives);
    let waiting = harness
        .checkouts
        .initiate(request("k"), Duration::from_mins(2))
        .await
        .unwrap();
    assert_eq!(waiting.checkout.status(), Status::PaymentCompleted);
    let began = Instant::now();
    assert!(harness.runtime.tasks.stop(Duration::from_mins(1)).await);
    assert!(began.elapsed() < A_MOMENT);
    harness.peers.clear_faults();
    let next = harness.another("me");
    next.recover();
    next.wait_for_end(waiting.checkout.id).await;
    next.assert_consistent("stopped and started").await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_hands_over_retrying_sagas_at_once() {
    let harness = Harness::new();
    harness.peers.always(PeerCall::Confirm, Fault::NeverArrives);
    let timeout = Duration::from_secs(10);
    let waiting = harness.checkouts.initiate(request("k"), timeout).await.unwrap();
    let other = harness.another("other");
    other.recover();
    harness.peers.clear_faults();
    let began = Instant::now();
    assert!(harness.runtime.tasks.stop(Duration::from_mins(1)).await);
    other.wait_for_end(waiting.checkout.id).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "without waiting for a lease: {:?}",
        began.elapsed()
    );
    other.assert_consistent("handed over").await;
}
