//! Every call to a participant, failed in every way: the verdict is always what the books say.

use std::time::Duration;

use checkout::{
    domain::{Checkout, Request, Status},
    saga::State,
};
use saga::journal::memory::WriteFault;

use crate::{
    bench::{Bench, TOTAL, paid_with, reason, request},
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
    fn bench(self) -> Bench {
        let bench = Bench::new();
        match self {
            Self::Good | Self::Declined => {}
            Self::OutOfStock => bench.world.ledger().sell_out(),
            Self::CartChanged => bench.world.change_every_cart(),
            Self::HoldExpired => bench.world.expire_every_hold(),
        }
        bench
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

    async fn play(self, bench: &Bench, what: &str) {
        let checkout = bench.buy(self.request()).await;
        self.assert_verdict(&checkout, what);
        bench.assert_sound(what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_every_call_leaves_the_verdict_as_it_was() {
    for scene in SCENES {
        for at in PARTICIPANTS {
            for fault in FAULTS {
                for times in [1, 2, 5] {
                    let bench = scene.bench();
                    bench.world.script(at, vec![Some(fault); times]);
                    scene
                        .play(&bench, &format!("{scene:?}: {at:?} {fault:?} {times} times"))
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
            let bench = scene.bench();
            for at in PARTICIPANTS {
                let faults = (0..6).map(|_| random.choice(FAULTS).filter(|_| random.bool()));
                bench.world.script(at, faults.collect::<Vec<_>>());
            }
            scene.play(&bench, &format!("{scene:?}, seed {seed}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_now_and_then_changes_no_verdict() {
    for scene in SCENES {
        for fault in [WriteFault::Lost, WriteFault::AnswerLost] {
            // Which of the writes after the first one fails.
            for nth in 0..6 {
                let bench = scene.bench();
                bench.recover();
                let gate = bench.world.gate_before(At::Reserve);
                let buying = bench.start_to_buy(scene.request());
                gate.reached().await;
                let id = bench.only().await.id;
                bench.journal.fail_nth_write(nth, fault);
                gate.open();
                let checkout = buying.await.unwrap().unwrap().checkout;
                let what = format!("{scene:?}: write {nth} {fault:?}");
                assert_eq!(checkout.id, id);
                scene.assert_verdict(&checkout, &what);
                bench.assert_sound(&what).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_charge_whose_answer_was_lost_is_found_and_not_made_again() {
    let bench = Bench::new();
    bench.world.script(At::Charge, [Some(Fault::AnswerLost)]);
    let checkout = bench.buy(request("k")).await;
    assert_eq!(checkout.state, State::Completed);
    assert_eq!(checkout.payment_id, Some(payment_id(checkout.id)));
    assert_eq!(
        (bench.world.calls_of(At::Charge), bench.world.calls_of(At::FindPayment)),
        (1, 1)
    );
    bench.assert_sound("answer lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_decline_whose_answer_was_lost_is_found() {
    let bench = Bench::new();
    bench.world.script(At::Charge, [Some(Fault::AnswerLost)]);
    let checkout = bench.buy(paid_with("k", "pm_card_expired")).await;
    assert_eq!(reason(&checkout), "CARD_EXPIRED");
    assert_eq!(bench.world.calls_of(At::Charge), 1);
    bench.assert_sound("decline lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_never_arrived_is_made_once_later() {
    let bench = Bench::new();
    bench.world.script(At::Charge, vec![Some(Fault::NeverArrives); 4]);
    let checkout = bench.buy(request("k")).await;
    assert_eq!(bench.world.ledger().movements(checkout.id), [TOTAL]);
    assert_eq!(bench.world.calls_of(At::Charge), 5);
    bench.assert_sound("never arrived").await;
}

#[tokio::test(start_paused = true)]
async fn a_charge_of_unknown_outcome_is_never_compensated_on_a_guess() {
    let declined = paid_with("k", "pm_card_declined");
    for (request, verdict) in [(request("k"), Status::Completed), (declined, Status::Failed)] {
        for fault in FAULTS.into_iter().filter(|fault| *fault != Fault::Twice) {
            let bench = Bench::new();
            bench.world.always(At::Charge, fault);
            bench.world.always(At::FindPayment, Fault::NeverArrives);
            let buying = bench.start_to_buy(request.clone());
            let six_hours = Duration::from_hours(6);
            tokio::time::sleep(six_hours).await;
            let stuck = bench.only().await;
            assert_eq!((&stuck.state, stuck.needs_attention), (&State::PaymentPending, true));
            assert!(bench.world.calls_of(At::Charge) > 100, "it is still tried");
            for at in [At::Confirm, At::Release, At::GiveBack, At::Refund] {
                assert_eq!(bench.world.calls_of(at), 0, "{at:?}");
            }
            bench.world.heal();
            assert_eq!(buying.await.unwrap().unwrap().checkout.status(), verdict);
            bench.assert_sound(&format!("{fault:?} {verdict:?}")).await;
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
        let bench = scene.bench();
        bench.world.always(at, Fault::NeverArrives);
        let buying = bench.start_to_buy(scene.request());
        let began = tokio::time::Instant::now();
        while bench.in_need().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let budget = began.elapsed();
        assert!(
            budget > Duration::from_secs(10) && budget < Duration::from_mins(1),
            "{at:?}: {budget:?}"
        );
        let calls = bench.world.calls_of(at);
        tokio::time::sleep(Duration::from_mins(5)).await;
        let more = bench.world.calls_of(at) - calls;
        assert!(
            (8..=25).contains(&more),
            "{at:?}: slowly, but still: {more} in five minutes"
        );
        let stuck = bench.only().await;
        assert!(stuck.needs_attention && !stuck.state.is_terminal(), "{stuck:?}");
        bench.world.heal();
        let checkout = buying.await.unwrap().unwrap().checkout;
        scene.assert_verdict(&checkout, &format!("{at:?}"));
        assert!(bench.in_need().await.is_empty());
        bench.assert_sound(&format!("{at:?}")).await;
    }
}
