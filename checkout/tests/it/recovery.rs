//! Sagas whose driver is gone, and drivers who have lost theirs.

mod left;

use std::time::Duration;

use checkout::{
    app::initiate_checkout::InitiateError,
    domain::{Refusal, Request},
    saga::State,
};
use proto::events::CheckoutCompleted;
use saga::{Journal, SagaId, State as _, journal::memory::WriteFault};

use crate::{
    harness::{Harness, PATIENCE, paid_with, request},
    world::{At, Fault, PARTICIPANTS},
};
use left::{
    BAD, CARD, CART, Left, OK, all_that_can_be_left, all_that_was_left_before, assert_end, lease, leave, reserved,
};

#[tokio::test(start_paused = true)]
async fn a_saga_left_in_any_state_is_taken_up_and_ended() {
    // Its owner is gone and the lease over; or it is back, under its own name.
    for lease in [lease("gone", Duration::ZERO), lease("me", Duration::from_hours(1))] {
        for left in all_that_can_be_left() {
            let harness = Harness::new();
            let id = leave(&harness, "k", &left, &lease).await;
            let what = format!("{} {} of {}", left.state.name(), left.method, lease.owner);
            let began = tokio::time::Instant::now();
            harness.recover();
            assert_end(&harness.ended(id).await, left.end, &what);
            assert!(began.elapsed() < Duration::from_secs(2), "{what}: at once");
            harness.assert_sound(&what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_was_begun_before_carts_had_holds_is_ended_and_its_event_says_whether_it_holds_anything() {
    for left in all_that_was_left_before() {
        let harness = Harness::new();
        let id = leave(&harness, "k", &left, &lease("gone", Duration::ZERO)).await;
        let what = format!("{} {} of before", left.state.name(), left.method);
        harness.recover();
        let ended = harness.ended(id).await;
        assert_end(&ended, left.end, &what);
        let is_before_its_hold = matches!(left.state, State::Initiated | State::InventoryReserved);
        assert_eq!(ended.held, is_before_its_hold && left.end != CART, "{what}");
        if left.end.is_none() {
            let told: CheckoutCompleted = serde_json::from_slice(&harness.journal.outbox()[0].data).unwrap();
            assert_eq!(told.held, ended.held, "{what}");
        }
        harness.assert_sound(&what).await;
    }
}

/// They charge, or have charged, for pieces that are free in the cart until their event is there.
#[tokio::test(start_paused = true)]
async fn nobody_buys_again_what_a_saga_of_before_is_about_to_take() {
    for method in [OK, BAD] {
        let harness = Harness::new();
        let left = Left {
            state: State::PaymentPending,
            before: reserved,
            method,
            end: if method == OK { None } else { CARD },
            is_old: true,
        };
        let old = leave(&harness, "k", &left, &lease("gone", Duration::from_secs(15))).await;
        let next = Request {
            user: request("k").user,
            ..request("next")
        };
        let running = harness.initiate(next.clone()).await;
        assert!(
            matches!(running, Err(InitiateError::InProgress(id)) if id == old),
            "{running:?}"
        );
        harness.only().await;
        harness.recover();
        let ended = harness.ended(old).await;
        assert_end(&ended, left.end, method);
        if method == OK {
            // What is in its event is still in the cart.
            let empty = harness.initiate(next.clone()).await;
            assert!(
                matches!(empty, Err(InitiateError::Refused(Refusal::Empty))),
                "{empty:?}"
            );
            harness.only().await;
            // The cart was changed: by the event, or by its customer.
            harness.world.fill_cart(&[(1, 1, 1000)]);
        }
        assert_eq!(harness.buy(next).await.state, State::Completed);
        harness.assert_sound(method).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_owner_does_not_come_back_is_taken_up_when_its_lease_is_over() {
    for left in all_that_can_be_left() {
        let harness = Harness::new();
        harness.recover();
        let id = leave(&harness, "k", &left, &lease("gone", Duration::from_secs(15))).await;
        let began = tokio::time::Instant::now();
        assert_end(&harness.ended(id).await, left.end, left.state.name());
        let waited = began.elapsed();
        assert!(
            waited >= Duration::from_secs(15) && waited < Duration::from_secs(18),
            "{waited:?}"
        );
        harness.assert_sound(left.state.name()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_cannot_be_read_does_not_keep_the_others_from_their_end() {
    let harness = Harness::new();
    let gone = lease("gone", Duration::ZERO);
    let mut all = all_that_can_be_left();
    let spoilt = leave(&harness, "spoilt", &all.remove(0), &gone).await;
    harness.journal.spoil(SagaId(spoilt.0));
    let mut sound = Vec::new();
    for (n, left) in all.iter().enumerate() {
        harness.world.restock(1000);
        sound.push((leave(&harness, &format!("k{n}"), left, &gone).await, left.end));
    }
    harness.recover();
    for (id, end) in sound {
        assert_end(&harness.ended(id).await, end, "beside a spoilt one");
    }
    harness.assert_sound("beside a spoilt one").await;
}

/// Drivers that stop for longer than their lease, just before or just behind each of their calls, and then go on.
#[tokio::test(start_paused = true)]
async fn a_driver_that_was_thought_dead_changes_nothing_when_it_goes_on() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        for at in PARTICIPANTS {
            for behind in [false, true] {
                let harness = Harness::new();
                match at {
                    At::FindPayment => harness.world.script(At::Charge, [Some(Fault::AnswerLost)]),
                    At::Refund => harness.world.ledger().holds_are_short = true,
                    At::Cart
                    | At::Prices
                    | At::Reserve
                    | At::Hold
                    | At::Charge
                    | At::Confirm
                    | At::Release
                    | At::GiveBack => {}
                }
                let gate = if behind {
                    harness.world.gate_behind(at)
                } else {
                    harness.world.gate_before(at)
                };
                let zombie = harness.start_to_buy(paid_with("k", method));
                let next = harness.another("me");
                next.recover();
                let end = harness
                    .checkouts
                    .initiate(paid_with("k", method), PATIENCE)
                    .await
                    .unwrap();
                let calls = harness.world.calls();
                gate.open();
                let answer = zombie.await.unwrap().unwrap();
                assert_eq!(answer.checkout, end.checkout);
                tokio::time::sleep(Duration::from_mins(1)).await;
                assert_eq!(harness.world.calls(), calls, "{at:?}: it makes no further call");
                harness.assert_sound(&format!("{method} {at:?} {behind}")).await;
            }
        }
    }
}

/// Somebody else takes the saga over, though its driver lives, just before or just behind a call.
async fn take_over(harness: &Harness, at: At, behind: bool, method: &str) {
    let gate = if behind {
        harness.world.gate_behind(at)
    } else {
        harness.world.gate_before(at)
    };
    let buying = harness.start_to_buy(paid_with("k", method));
    gate.reached().await;
    harness.journal.release_all("me").await.unwrap();
    let other = harness.another("other");
    other.recover();
    let id = harness.only().await.id;
    let end = other.ended(id).await;
    let calls = harness.world.calls().len();
    gate.open();
    assert_eq!(buying.await.unwrap().unwrap().checkout, end, "{at:?}");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let more = harness.world.calls()[calls..].to_vec();
    // What follows a reservation or a charge shares its commit. That call was made by the new driver before, and has its
    // answer.
    let expected = match (at, method) {
        (At::Charge | At::FindPayment, "pm_card_ok") => vec![At::Confirm],
        (At::Charge | At::FindPayment | At::Refund, _) => vec![At::GiveBack, At::Release],
        (At::GiveBack, _) => vec![At::Release],
        (At::Reserve, _) => vec![At::Hold],
        (At::Cart | At::Prices | At::Hold | At::Confirm | At::Release, _) => Vec::new(),
    };
    assert!(more == expected || more.is_empty(), "{at:?}: {more:?}");
    harness.assert_sound(&format!("{method} {at:?} {behind}")).await;
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_taken_from_a_driver_that_lives_has_one_verdict() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        for at in PARTICIPANTS {
            for behind in [false, true] {
                let harness = Harness::new();
                match at {
                    At::FindPayment => harness.world.script(At::Charge, [Some(Fault::AnswerLost)]),
                    At::Refund => harness.world.ledger().holds_are_short = true,
                    At::Cart
                    | At::Prices
                    | At::Reserve
                    | At::Hold
                    | At::Charge
                    | At::Confirm
                    | At::Release
                    | At::GiveBack => {}
                }
                let is_called = match at {
                    At::Confirm | At::Refund => method == "pm_card_ok",
                    At::GiveBack | At::Release => method == "pm_card_declined",
                    At::Cart | At::Prices | At::Reserve | At::Hold | At::Charge | At::FindPayment => true,
                };
                if is_called {
                    take_over(&harness, at, behind, method).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_whose_fence_has_moved_on_does_not_charge() {
    let harness = Harness::new();
    let gate = harness.world.gate_behind(At::Reserve);
    let buying = harness.start_to_buy(request("k"));
    gate.reached().await;
    harness.journal.release_all("me").await.unwrap();
    let other = lease("other", Duration::from_hours(1));
    let claimed = harness.journal.claim_due(&other, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    gate.open();
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert_eq!(harness.world.calls(), [At::Cart, At::Prices, At::Reserve, At::Hold]);
    let stays = harness.only().await;
    assert_eq!(stays, claimed[0].saga.clone().into(), "it has written nothing");
    // The client still waits: whoever has the saga now may end it.
    let next = harness.another("other");
    next.recover();
    let answer = buying.await.unwrap().unwrap();
    assert_eq!(answer.checkout.state, State::Completed);
    harness.assert_sound("fenced off").await;
}

#[tokio::test(start_paused = true)]
async fn many_sagas_that_were_left_all_end_though_some_participants_fail() {
    let harness = Harness::new();
    harness.world.always(At::Confirm, Fault::NeverArrives);
    let mut waiting = Vec::new();
    for n in 0..250 {
        waiting.push(harness.start_to_buy(request(&format!("k{n}"))));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(harness.runtime.tasks.stop(Duration::from_mins(1)).await);
    harness.world.heal();
    let next = harness.another("me");
    next.recover();
    for buying in waiting {
        assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
    }
    assert_eq!(harness.checkouts().await.len(), 250);
    harness.assert_sound("250 sagas").await;
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_beginning_was_written_but_not_answered_is_found_by_its_key() {
    let harness = Harness::new();
    harness.recover();
    harness.journal.fail_nth_write(0, WriteFault::AnswerLost);
    harness.initiate(request("k")).await.unwrap_err();
    let again = harness.initiate(request("k")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.checkout.state, State::Completed);
    harness.assert_sound("begun unheard").await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_written_but_not_answered_is_found_without_waiting_for_a_lease() {
    for method in ["pm_card_ok", "pm_card_declined"] {
        for nth in [1, 2] {
            // Without recovery: nobody else would go on.
            let harness = Harness::new();
            let gate = harness.world.gate_before(At::Reserve);
            let buying = harness.start_to_buy(paid_with("k", method));
            gate.reached().await;
            harness.journal.fail_nth_write(nth - 1, WriteFault::AnswerLost);
            let began = tokio::time::Instant::now();
            gate.open();
            let answer = buying.await.unwrap().unwrap();
            assert_eq!(answer.checkout, harness.only().await);
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            harness.assert_sound(&format!("{method}: write {nth} unheard")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_not_written_while_somebody_else_took_over_is_not_taken_for_written() {
    for at in [At::Reserve, At::Hold, At::Charge] {
        let harness = Harness::new();
        let gate = harness.world.gate_behind(at);
        let buying = harness.start_to_buy(request("k"));
        gate.reached().await;
        harness.journal.release_all("me").await.unwrap();
        let other = lease("other", Duration::from_hours(1));
        let claimed = harness.journal.claim_due(&other, 10).await.unwrap();
        harness.journal.fail_nth_write(0, WriteFault::Lost);
        gate.open();
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(harness.only().await, claimed[0].saga.clone().into());
        assert_eq!(harness.world.calls_of(At::Charge), usize::from(at == At::Charge));
        let next = harness.another("other");
        next.recover();
        assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
        harness.assert_sound("not written").await;
    }
}
