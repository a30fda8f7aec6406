//! Every call to a participant, failed in every way: the verdict is always what the books say.

use std::time::Duration;

use checkout::{
    domain::{Checkout, Request, Status},
    saga::State,
};
use saga::journal::memory::WriteFault;

use crate::{
    harness::{Harness, TOTAL, paid_with, reason, request},
    ledger::payment_id,
    world::{At, FAULTS, Fault, PARTICIPANTS},
};

/// What becomes of a purchase when every call gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    Good,
    Declined,
    OutOfStock,
    CartChanged,
    HoldExpired,
}

const SCENES: [Scene; 5] = [
    Scene::Good,
    Scene::Declined,
    Scene::OutOfStock,
    Scene::CartChanged,
    Scene::HoldExpired,
];

impl Scene {
    fn harness(self) -> Harness {
        let harness = Harness::new();
        match self {
            Self::Good | Self::Declined => {}
            Self::OutOfStock => harness.world.ledger().sell_out(),
            Self::CartChanged => harness.world.ledger().carts.always_change = true,
            Self::HoldExpired => harness.world.ledger().holds_are_short = true,
        }
        harness
    }

    fn request(self) -> Request {
        match self {
            Self::Declined => paid_with("k", "pm_card_declined"),
            Self::Good | Self::OutOfStock | Self::CartChanged | Self::HoldExpired => request("k"),
        }
    }

    fn assert_verdict(self, checkout: &Checkout, what: &str) {
        match self {
            Self::Good => assert_eq!(checkout.state, State::Completed, "{what}"),
            Self::Declined => assert_eq!(reason(checkout), "CARD_DECLINED", "{what}"),
            Self::OutOfStock => assert_eq!(reason(checkout), "OUT_OF_STOCK", "{what}"),
            Self::CartChanged => assert_eq!(reason(checkout), "CART_CHANGED", "{what}"),
            Self::HoldExpired => assert_eq!(reason(checkout), "RESERVATION_EXPIRED", "{what}"),
        }
    }

    async fn play(self, harness: &Harness, what: &str) {
        let checkout = harness.buy(self.request()).await;
        self.assert_verdict(&checkout, what);
        harness.assert_sound(what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_every_call_leaves_the_verdict_as_it_was() {
    for scene in SCENES {
        for at in PARTICIPANTS {
            for fault in FAULTS {
                for times in [1, 2, 5] {
                    let harness = scene.harness();
                    harness.world.script(at, vec![Some(fault); times]);
                    scene
                        .play(&harness, &format!("{scene:?}: {at:?} {fault:?} {times} times"))
                        .await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_all_calls_in_any_mixture_leave_the_verdict_as_it_was() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        for scene in SCENES {
            let harness = scene.harness();
            for at in PARTICIPANTS {
                let faults = (0..6).map(|_| random.choice(FAULTS).filter(|_| random.bool()));
                harness.world.script(at, faults.collect::<Vec<_>>());
            }
            scene.play(&harness, &format!("{scene:?}, seed {seed}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_now_and_then_changes_no_verdict() {
    for scene in SCENES {
        for fault in [WriteFault::Lost, WriteFault::AnswerLost] {
            // Which of the writes after the first one fails.
            for nth in 0..6 {
                let harness = scene.harness();
                harness.recover();
                let gate = harness.world.gate_before(At::Reserve);
                let buying = harness.start_to_buy(scene.request());
                gate.reached().await;
                let id = harness.only().await.id;
                harness.journal.fail_nth_write(nth, fault);
                gate.open();
                let checkout = buying.await.unwrap().unwrap().checkout;
                let what = format!("{scene:?}: write {nth} {fault:?}");
                assert_eq!(checkout.id, id);
                scene.assert_verdict(&checkout, &what);
                harness.assert_sound(&what).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_charge_whose_answer_was_lost_is_found_and_not_made_again() {
    let harness = Harness::new();
    harness.world.script(At::Charge, [Some(Fault::AnswerLost)]);
    let checkout = harness.buy(request("k")).await;
    assert_eq!(checkout.state, State::Completed);
    assert_eq!(checkout.payment_id, Some(payment_id(checkout.id)));
    assert_eq!(
        (
            harness.world.calls_of(At::Charge),
            harness.world.calls_of(At::FindPayment)
        ),
        (1, 1)
    );
    harness.assert_sound("answer lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_decline_whose_answer_was_lost_is_found() {
    let harness = Harness::new();
    harness.world.script(At::Charge, [Some(Fault::AnswerLost)]);
    let checkout = harness.buy(paid_with("k", "pm_card_expired")).await;
    assert_eq!(reason(&checkout), "CARD_EXPIRED");
    assert_eq!(harness.world.calls_of(At::Charge), 1);
    harness.assert_sound("decline lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_never_arrived_is_made_once_later() {
    let harness = Harness::new();
    harness.world.script(At::Charge, vec![Some(Fault::NeverArrives); 4]);
    let checkout = harness.buy(request("k")).await;
    assert_eq!(harness.world.ledger().movements(checkout.id), [TOTAL]);
    assert_eq!(harness.world.calls_of(At::Charge), 5);
    harness.assert_sound("never arrived").await;
}

#[tokio::test(start_paused = true)]
async fn a_charge_of_unknown_outcome_is_never_compensated_on_a_guess() {
    let declined = paid_with("k", "pm_card_declined");
    for (request, verdict) in [(request("k"), Status::Completed), (declined, Status::Failed)] {
        for fault in FAULTS.into_iter().filter(|fault| *fault != Fault::Twice) {
            let harness = Harness::new();
            harness.world.always(At::Charge, fault);
            harness.world.always(At::FindPayment, Fault::NeverArrives);
            let buying = harness.start_to_buy(request.clone());
            let six_hours = Duration::from_hours(6);
            tokio::time::sleep(six_hours).await;
            let stuck = harness.only().await;
            assert_eq!((&stuck.state, stuck.needs_attention), (&State::PaymentPending, true));
            assert!(harness.world.calls_of(At::Charge) > 100, "it is still tried");
            for at in [At::Confirm, At::Release, At::GiveBack, At::Refund] {
                assert_eq!(harness.world.calls_of(at), 0, "{at:?}");
            }
            harness.world.heal();
            assert_eq!(buying.await.unwrap().unwrap().checkout.status(), verdict);
            harness.assert_sound(&format!("{fault:?} {verdict:?}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_beyond_its_budget_needs_attention_until_it_goes_on() {
    let stuck_at = [
        (At::Reserve, Scene::Good),
        (At::Hold, Scene::Good),
        (At::Charge, Scene::Good),
        (At::Confirm, Scene::Good),
        (At::Release, Scene::Declined),
        (At::Release, Scene::CartChanged),
        (At::GiveBack, Scene::Declined),
        (At::Refund, Scene::HoldExpired),
    ];
    for (at, scene) in stuck_at {
        let harness = scene.harness();
        harness.world.always(at, Fault::NeverArrives);
        let buying = harness.start_to_buy(scene.request());
        let began = tokio::time::Instant::now();
        while harness.in_need().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let budget = began.elapsed();
        assert!(
            budget > Duration::from_secs(10) && budget < Duration::from_mins(1),
            "{at:?}: {budget:?}"
        );
        let calls = harness.world.calls_of(at);
        tokio::time::sleep(Duration::from_mins(5)).await;
        let more = harness.world.calls_of(at) - calls;
        assert!(
            (8..=25).contains(&more),
            "{at:?}: slowly, but still: {more} in five minutes"
        );
        let stuck = harness.only().await;
        assert!(stuck.needs_attention && !stuck.state.is_terminal(), "{stuck:?}");
        harness.world.heal();
        let checkout = buying.await.unwrap().unwrap().checkout;
        scene.assert_verdict(&checkout, &format!("{at:?}"));
        assert!(harness.in_need().await.is_empty());
        harness.assert_sound(&format!("{at:?}")).await;
    }
}
