//! Clients that wait, do not wait, or go away.

use std::{future::Future, time::Duration};

use checkout::{app::initiate_checkout::InitiateError, domain::Status, saga::State};
use futures::poll;
use saga::PERMITS;
use tokio::{task::yield_now, time::Instant};

use crate::{
    harness::{Harness, PATIENCE, paid_with, request},
    world::{At, Fault},
};

const A_MOMENT: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn a_client_whose_time_is_over_gets_the_checkout_as_it_stands_and_its_end_later() {
    let harness = Harness::new();
    let gate = harness.world.gate_behind(At::Charge);
    let patience = Duration::from_secs(5);
    let began = Instant::now();
    let first = harness.checkouts.initiate(request("k"), patience).await.unwrap();
    assert!(began.elapsed() >= patience && began.elapsed() < patience + A_MOMENT);
    assert_eq!(
        (first.replayed, first.checkout.status()),
        (false, Status::PaymentPending)
    );
    let second = harness.checkouts.initiate(request("k"), patience).await.unwrap();
    assert!(began.elapsed() < (patience + A_MOMENT) * 2);
    assert!(second.replayed);
    assert_eq!(second.checkout, first.checkout);
    let waiting = harness.start_to_buy(request("k"));
    yield_now().await;
    gate.open();
    let end = waiting.await.unwrap().unwrap();
    assert_eq!((end.replayed, end.checkout.status()), (true, Status::Completed));
    assert_eq!(harness.initiate(request("k")).await.unwrap().checkout, end.checkout);
    harness.assert_sound("patience").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_without_any_patience_is_answered_at_once() {
    let harness = Harness::new();
    let gate = harness.world.gate_before(At::Reserve);
    let began = Instant::now();
    let answer = harness.checkouts.initiate(request("k"), Duration::ZERO).await.unwrap();
    assert!(began.elapsed() < A_MOMENT);
    assert_eq!(answer.checkout.status(), Status::Initiated);
    gate.open();
    harness.ended(answer.checkout.id).await;
    harness.assert_sound("no patience").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_on_while_the_store_does_not_answer_and_gets_the_end_or_the_last_known_state() {
    let harness = Harness::new();
    let gate = harness.world.gate_before(At::Charge);
    let waits = harness.start_to_buy(request("k"));
    gate.reached().await;
    harness.journal.make_get_unavailable(true);
    let short = harness
        .checkouts
        .initiate(request("k"), Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!((short.replayed, short.checkout.state.is_terminal()), (true, false));
    gate.open();
    let end = waits.await.unwrap().unwrap();
    assert_eq!(end.checkout.status(), Status::Completed);
    harness.journal.make_get_unavailable(false);
    assert_eq!(harness.get(short.checkout.id).await, end.checkout);
    harness.assert_sound("unavailable").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_of_an_end_in_another_process() {
    let harness = Harness::new();
    let gate = harness.world.gate_before(At::Charge);
    let here = harness.start_to_buy(request("k"));
    gate.reached().await;
    let elsewhere = harness.another("other");
    let there = elsewhere.start_to_buy(request("k"));
    yield_now().await;
    gate.open();
    let (here, there) = (here.await.unwrap().unwrap(), there.await.unwrap().unwrap());
    assert_eq!((here.replayed, there.replayed), (false, true));
    assert_eq!(here.checkout, there.checkout);
    assert_eq!(there.checkout.state, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_goes_on_before_more_begins() {
    let harness = Harness::new();
    let gates: Vec<_> = (0..PERMITS).map(|_| harness.world.gate_before(At::Reserve)).collect();
    let key = |n| request(&format!("k{n}"));
    let buying: Vec<_> = (0..PERMITS).map(|n| harness.start_to_buy(key(n))).collect();
    for gate in &gates {
        gate.reached().await;
    }
    let patience = Duration::from_secs(5);
    let one_more = harness.checkouts.initiate(request("one more"), patience).await;
    assert!(matches!(one_more, Err(InitiateError::Busy)), "{one_more:?}");
    assert_eq!(harness.checkouts().await.len(), PERMITS);
    let known = harness.checkouts.initiate(key(0), Duration::ZERO).await.unwrap();
    assert!(known.replayed, "it takes no place to ask for what is under way");
    let waiting = harness.start_to_buy(request("one more"));
    yield_now().await;
    for gate in gates {
        gate.open();
    }
    assert_eq!(waiting.await.unwrap().unwrap().checkout.status(), Status::Completed);
    for bought in buying {
        assert_eq!(bought.await.unwrap().unwrap().checkout.status(), Status::Completed);
    }
    harness.assert_sound("many").await;
}

#[tokio::test(start_paused = true)]
async fn a_purchase_that_is_tried_again_later_leaves_its_place_to_others() {
    let harness = Harness::new();
    harness.world.always(At::Confirm, Fault::NeverArrives);
    let patience = Duration::from_secs(5);
    for n in 0..PERMITS {
        let stuck = harness
            .checkouts
            .initiate(request(&format!("k{n}")), Duration::ZERO)
            .await;
        assert!(!stuck.unwrap().checkout.state.is_terminal());
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    // Nobody confirms what was declined.
    let other = harness
        .checkouts
        .initiate(paid_with("other", "pm_card_declined"), patience)
        .await;
    assert_eq!(other.unwrap().checkout.status(), Status::Failed);
    harness.world.heal();
    for checkout in harness.checkouts().await {
        harness.ended(checkout.id).await;
    }
    harness.assert_sound("many tries").await;
}

/// Polls `initiate` as often as that, and drops it. True when it was done by then.
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
async fn a_client_that_goes_away_at_any_moment_changes_nothing() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        for fault in [None, Some(Fault::AnswerLost)] {
            let mut seen = [0; 3];
            for polls in 0..40 {
                let harness = Harness::new();
                harness.world.script(At::Charge, [fault]);
                let done = drop_after(polls, harness.checkouts.initiate(paid_with("k", method), PATIENCE)).await;
                // What has begun by now ends, with nobody there to ask for it.
                tokio::time::sleep(Duration::from_mins(1)).await;
                let what = format!("{method}, {fault:?}, dropped after {polls} polls");
                harness.assert_sound(&what).await;
                let begun = harness.checkouts().await;
                seen[if done { 2 } else { begun.len() }] += 1;
                let verdict = harness.initiate(paid_with("k", method)).await.unwrap();
                assert_eq!(verdict.replayed, !begun.is_empty(), "{what}");
                let expected = if method == "pm_card_ok" {
                    Status::Completed
                } else {
                    Status::Failed
                };
                assert_eq!(verdict.checkout.status(), expected, "{what}");
                harness.only().await;
                harness.assert_sound(&what).await;
            }
            assert!(
                seen.iter().all(|count| *count > 0),
                "dropped before it began, after, and not: {seen:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_told_to_stop_finishes_what_it_can() {
    let harness = Harness::new();
    let gate = harness.world.gate_before(At::Charge);
    let buying = harness.start_to_buy(request("k"));
    gate.reached().await;
    gate.open();
    assert!(harness.runtime.tasks.stop(Duration::from_mins(1)).await);
    assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
    harness.assert_sound("stopped").await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_told_to_stop_does_not_wait_for_what_is_tried_again() {
    let harness = Harness::new();
    harness.world.always(At::Confirm, Fault::NeverArrives);
    let waiting = harness
        .checkouts
        .initiate(request("k"), Duration::from_mins(2))
        .await
        .unwrap();
    assert_eq!(waiting.checkout.status(), Status::PaymentCompleted);
    let began = Instant::now();
    assert!(harness.runtime.tasks.stop(Duration::from_mins(1)).await);
    assert!(began.elapsed() < A_MOMENT);
    harness.world.heal();
    let next = harness.another("me");
    next.recover();
    next.ended(waiting.checkout.id).await;
    next.assert_sound("stopped and started").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_again_goes_over_to_another_process_at_once_when_its_own_stops() {
    let harness = Harness::new();
    harness.world.always(At::Confirm, Fault::NeverArrives);
    let moment = Duration::from_secs(10);
    let waiting = harness.checkouts.initiate(request("k"), moment).await.unwrap();
    let other = harness.another("other");
    other.recover();
    harness.world.heal();
    let began = Instant::now();
    assert!(harness.runtime.tasks.stop(Duration::from_mins(1)).await);
    other.ended(waiting.checkout.id).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "no lease had to end: {:?}",
        began.elapsed()
    );
    other.assert_sound("handed over").await;
}
