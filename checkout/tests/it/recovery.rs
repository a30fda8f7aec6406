//! Sagas whose driver died, and drivers that lost their saga.

mod interrupted;

use std::time::Duration;

use checkout::{app::initiate_checkout::InitiateError, domain::CartRefusal, saga::State};
use proto::events::CheckoutCompleted;
use saga::{Journal, PERMITS, SagaId, State as _};

use crate::{
    fake_peers::{Fault, PeerCall, SAGA_CALLS, When},
    harness::{Harness, TIMEOUT, by_same_customer, paid_with, request},
    sagas::{HOUR, lease},
};
use interrupted::{
    CHANGED, COMPLETES, DECLINED, DECLINED_CARD, Done, GOOD_CARD, Interrupted, all_interrupted,
    all_interrupted_of_version_1, assert_end, store,
};

/// The lease of an owner that does not come back.
const LEASE: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn recovery_finishes_a_saga_interrupted_in_any_state() {
    // The lease of another owner has expired, or the owner restarted under its own name.
    for lease in [lease("gone", Duration::ZERO), lease("me", HOUR)] {
        for saga in all_interrupted() {
            let harness = Harness::new();
            let id = store(&harness, "k", &saga, &lease).await;
            let what = format!("{} {} of {}", saga.state.name(), saga.ending.0, lease.owner);
            let began = tokio::time::Instant::now();
            harness.recover();
            assert_end(&harness.wait_for_end(id).await, saga.ending, &what);
            assert!(began.elapsed() < Duration::from_secs(2), "{what}: at once");
            harness.assert_consistent(&what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn recovery_finishes_a_saga_of_version_1_and_its_event_says_whether_it_has_a_hold() {
    for saga in all_interrupted_of_version_1() {
        let harness = Harness::new();
        let id = store(&harness, "k", &saga, &lease("gone", Duration::ZERO)).await;
        let what = format!("{} {} of version 1", saga.state.name(), saga.ending.0);
        harness.recover();
        let ended = harness.wait_for_end(id).await;
        assert_end(&ended, saga.ending, &what);
        let is_before_hold = matches!(saga.state, State::Initiated | State::InventoryReserved);
        assert_eq!(ended.held, is_before_hold && saga.ending != CHANGED, "{what}");
        if saga.ending == COMPLETES {
            let event: CheckoutCompleted = serde_json::from_slice(&harness.journal.outbox()[0].data).unwrap();
            assert_eq!(event.held, ended.held, "{what}");
        }
        harness.assert_consistent(&what).await;
    }
}

/// Its pieces stay free in the cart until the cart reads its event.
#[tokio::test(start_paused = true)]
async fn a_customer_cannot_buy_again_what_a_saga_of_version_1_buys() {
    for ending in [COMPLETES, DECLINED] {
        let harness = Harness::new();
        let saga = Interrupted {
            state: State::PaymentPending,
            done: &[Done::Reserve],
            ending,
            is_version_1: true,
        };
        let first = store(&harness, "k", &saga, &lease("gone", LEASE)).await;
        let next = by_same_customer("next");
        let running = harness.initiate(next.clone()).await;
        assert!(
            matches!(running, Err(InitiateError::InProgress(id)) if id == first),
            "{running:?}"
        );
        let own = paid_with("k", ending.0);
        let own = harness.checkouts.initiate(own, Duration::ZERO).await.unwrap();
        assert!(own.replayed && own.checkout.id == first, "its own key still finds it");
        harness.only_checkout().await;
        harness.recover();
        let ended = harness.wait_for_end(first).await;
        assert_end(&ended, ending, "version 1");
        if ending == COMPLETES {
            // The bought pieces are still in the cart.
            let empty = harness.initiate(next.clone()).await;
            assert!(
                matches!(empty, Err(InitiateError::Refused(CartRefusal::Empty))),
                "{empty:?}"
            );
            harness.only_checkout().await;
            // The event or the customer changes the cart.
            harness.peers.fill_cart(&[(1, 1, 1000)]);
        }
        assert_eq!(harness.buy(next).await.state, State::Completed);
        harness.assert_consistent("version 1").await;
    }
}

/// Runs a case for each call of a saga and each method, after the fault or the expiry that leads to that call.
async fn for_every_call(case: impl AsyncFn(&Harness, PeerCall, When, &str)) {
    for method in [GOOD_CARD, DECLINED_CARD] {
        for call in SAGA_CALLS {
            for when in [When::Before, When::After] {
                let harness = Harness::new();
                if call == PeerCall::GetPayment {
                    harness.peers.script(PeerCall::Charge, [Some(Fault::AnswerLost)]);
                }
                harness.peers.ledger().reservations_expire = call == PeerCall::Refund;
                case(&harness, call, when, method).await;
            }
        }
    }
}

/// The driver stands still for longer than its lease, before or after a call, and then runs on.
#[tokio::test(start_paused = true)]
async fn a_driver_that_resumes_after_its_lease_expired_changes_nothing() {
    for_every_call(async |harness, call, when, method| {
        let pause = harness.peers.pause(call, when);
        let stalled = harness.spawn_purchase(paid_with("k", method));
        let next = harness.another("me");
        next.recover();
        let end = harness
            .checkouts
            .initiate(paid_with("k", method), TIMEOUT)
            .await
            .unwrap();
        let calls = harness.peers.calls();
        pause.resume();
        assert_eq!(stalled.await.unwrap().unwrap().checkout, end.checkout);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(
            harness.peers.calls(),
            calls,
            "{call:?}: the stalled driver makes no further call"
        );
        harness.assert_consistent(&format!("{method} {call:?} {when:?}")).await;
    })
    .await;
}

/// Another process claims the saga while its driver lives, before or after a call.
async fn take_over(harness: &Harness, call: PeerCall, when: When, method: &str) {
    let pause = harness.peers.pause(call, when);
    let buying = harness.spawn_purchase(paid_with("k", method));
    pause.reached().await;
    harness.journal.release_all("me").await.unwrap();
    let other = harness.another("other");
    other.recover();
    let id = harness.only_checkout().await.id;
    let end = other.wait_for_end(id).await;
    let calls = harness.peers.calls().len();
    pause.resume();
    assert_eq!(buying.await.unwrap().unwrap().checkout, end, "{call:?}");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let more = harness.peers.calls()[calls..].to_vec();
    // States that share a commit make their call before the old driver sees the conflict. The new driver has made that
    // call already, so the old driver gets the same answer.
    let expected = match (call, method) {
        (PeerCall::Charge | PeerCall::GetPayment, "pm_card_ok") => vec![PeerCall::Confirm],
        (PeerCall::Charge | PeerCall::GetPayment | PeerCall::Refund, _) => vec![PeerCall::GiveBack, PeerCall::Release],
        (PeerCall::GiveBack, _) => vec![PeerCall::Release],
        (PeerCall::Reserve, _) => vec![PeerCall::Hold],
        (PeerCall::GetCart | PeerCall::GetPrices | PeerCall::Hold | PeerCall::Confirm | PeerCall::Release, _) => {
            Vec::new()
        }
    };
    assert!(more == expected || more.is_empty(), "{call:?}: {more:?}");
    harness.assert_consistent(&format!("{method} {call:?} {when:?}")).await;
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_claimed_from_a_live_driver_ends_once() {
    for_every_call(async |harness, call, when, method| {
        let is_called = match call {
            PeerCall::Confirm | PeerCall::Refund => method == GOOD_CARD,
            PeerCall::GiveBack | PeerCall::Release => method == DECLINED_CARD,
            PeerCall::GetCart
            | PeerCall::GetPrices
            | PeerCall::Reserve
            | PeerCall::Hold
            | PeerCall::Charge
            | PeerCall::GetPayment => true,
        };
        if is_called {
            take_over(harness, call, when, method).await;
        }
    })
    .await;
}

/// Its event cannot be made, because its payment id is lost.
#[tokio::test(start_paused = true)]
async fn a_damaged_saga_takes_no_permit_from_others_however_often_it_is_tried() {
    let harness = Harness::new();
    let saga = Interrupted {
        state: State::PaymentCompleted,
        done: &[Done::Reserve, Done::Hold, Done::Charge],
        ending: COMPLETES,
        is_version_1: false,
    };
    let id = store(&harness, "damaged", &saga, &lease("gone", LEASE)).await;
    let (mut damaged, history) = harness.journal.get(SagaId(id.0), None).await.unwrap().unwrap();
    damaged.data.payment_id = None;
    harness.journal.put(damaged, "damaged", history);
    harness.recover();
    // One attempt for each lease: more attempts than there are permits.
    tokio::time::sleep(LEASE * 300).await;
    assert!(harness.peers.calls_of(PeerCall::Confirm) > PERMITS);
    harness.peers.restock(10);
    assert_eq!(harness.buy(request("k")).await.state, State::Completed);
    assert_eq!(
        harness.get(id).await.state,
        State::PaymentCompleted,
        "it is not written off"
    );
}
