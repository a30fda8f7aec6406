//! Each call of a saga with each fault: the purchase ends as it does without faults.

use std::time::Duration;

use checkout::{
    domain::{Checkout, CheckoutRequest, Status},
    saga::State,
};
use saga::journal::memory::WriteFault;

use crate::{
    fake_peers::{
        FAULTS, Fault,
        PeerCall::{Charge, Confirm, GetPayment, GiveBack, Hold, Refund, Release, Reserve},
        SAGA_CALLS,
        ledger::payment_id,
    },
    harness::{Harness, TOTAL, paid_with, reason, request},
};

/// How a purchase ends without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Success,
    Declined,
    OutOfStock,
    CartChanged,
    ReservationExpired,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario::Success,
    Scenario::Declined,
    Scenario::OutOfStock,
    Scenario::CartChanged,
    Scenario::ReservationExpired,
];

impl Scenario {
    fn harness(self) -> Harness {
        let harness = Harness::new();
        match self {
            Self::Success | Self::Declined => {}
            Self::OutOfStock => harness.peers.ledger().sell_out(),
            Self::CartChanged => harness.peers.ledger().carts.cleared_before_hold = true,
            Self::ReservationExpired => harness.peers.ledger().reservations_expire = true,
        }
        harness
    }

    fn request(self) -> CheckoutRequest {
        match self {
            Self::Declined => paid_with("k", "pm_card_declined"),
            Self::Success | Self::OutOfStock | Self::CartChanged | Self::ReservationExpired => request("k"),
        }
    }

    fn assert_end(self, checkout: &Checkout, what: &str) {
        match self {
            Self::Success => assert_eq!(checkout.state, State::Completed, "{what}"),
            Self::Declined => assert_eq!(reason(checkout), "CARD_DECLINED", "{what}"),
            Self::OutOfStock => assert_eq!(reason(checkout), "OUT_OF_STOCK", "{what}"),
            Self::CartChanged => assert_eq!(reason(checkout), "CART_CHANGED", "{what}"),
            Self::ReservationExpired => assert_eq!(reason(checkout), "RESERVATION_EXPIRED", "{what}"),
        }
    }

    async fn run(self, harness: &Harness, what: &str) {
        let checkout = harness.buy(self.request()).await;
        self.assert_end(&checkout, what);
        harness.assert_consistent(what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_every_call_leaves_the_end_unchanged() {
    for scenario in SCENARIOS {
        for call in SAGA_CALLS {
            for fault in FAULTS {
                for times in [1, 2, 5] {
                    let harness = scenario.harness();
                    harness.peers.script(call, vec![Some(fault); times]);
                    scenario
                        .run(&harness, &format!("{scenario:?}: {call:?} {fault:?} {times} times"))
                        .await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn random_faults_of_all_calls_leave_the_end_unchanged() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        for scenario in SCENARIOS {
            let harness = scenario.harness();
            for call in SAGA_CALLS {
                let faults = (0..6).map(|_| random.choice(FAULTS).filter(|_| random.bool()));
                harness.peers.script(call, faults.collect::<Vec<_>>());
            }
            scenario.run(&harness, &format!("{scenario:?}, seed {seed}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_of_the_journal_leaves_the_end_unchanged() {
    for scenario in SCENARIOS {
        for fault in [WriteFault::Lost, WriteFault::AnswerLost] {
            // Each write after the begin.
            for nth in 0..6 {
                let harness = scenario.harness();
                harness.recover();
                let pause = harness.peers.pause_before(Reserve);
                let buying = harness.spawn_purchase(scenario.request());
                pause.reached().await;
                let id = harness.only_checkout().await.id;
                harness.journal.fail_nth_write(nth, fault);
                pause.resume();
                let checkout = buying.await.unwrap().unwrap().checkout;
                let what = format!("{scenario:?}: write {nth} {fault:?}");
                assert_eq!(checkout.id, id);
                scenario.assert_end(&checkout, &what);
                harness.assert_consistent(&what).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_charge_whose_answer_was_lost_is_found_by_get_payment() {
    let harness = Harness::new();
    harness.peers.script(Charge, [Some(Fault::AnswerLost)]);
    let checkout = harness.buy(request("k")).await;
    assert_eq!(checkout.state, State::Completed);
    assert_eq!(checkout.payment_id, Some(payment_id(checkout.id)));
    assert_eq!(
        (harness.peers.calls_of(Charge), harness.peers.calls_of(GetPayment)),
        (1, 1)
    );
    harness.assert_consistent("answer lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_decline_whose_answer_was_lost_is_found_by_get_payment() {
    let harness = Harness::new();
    harness.peers.script(Charge, [Some(Fault::AnswerLost)]);
    let checkout = harness.buy(paid_with("k", "pm_card_expired")).await;
    assert_eq!(reason(&checkout), "CARD_EXPIRED");
    assert_eq!(harness.peers.calls_of(Charge), 1);
    harness.assert_consistent("decline lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_never_arrived_is_repeated_and_made_once() {
    let harness = Harness::new();
    harness.peers.script(Charge, vec![Some(Fault::NeverArrives); 4]);
    let checkout = harness.buy(request("k")).await;
    assert_eq!(harness.peers.ledger().movements(checkout.id), [TOTAL]);
    assert_eq!(harness.peers.calls_of(Charge), 5);
    harness.assert_consistent("never arrived").await;
}

#[tokio::test(start_paused = true)]
async fn a_charge_of_unknown_outcome_is_never_compensated_on_a_guess() {
    let declined = paid_with("k", "pm_card_declined");
    for (request, end) in [(request("k"), Status::Completed), (declined, Status::Failed)] {
        for fault in FAULTS.into_iter().filter(|fault| *fault != Fault::Twice) {
            let harness = Harness::new();
            harness.peers.always(Charge, fault);
            harness.peers.always(GetPayment, Fault::NeverArrives);
            let buying = harness.spawn_purchase(request.clone());
            let six_hours = Duration::from_hours(6);
            tokio::time::sleep(six_hours).await;
            let stuck = harness.only_checkout().await;
            assert_eq!((&stuck.state, stuck.needs_attention), (&State::PaymentPending, true));
            assert!(harness.peers.calls_of(Charge) > 100, "it is still retried");
            for call in [Confirm, Release, GiveBack, Refund] {
                assert_eq!(harness.peers.calls_of(call), 0, "{call:?}");
            }
            harness.peers.clear_faults();
            assert_eq!(buying.await.unwrap().unwrap().checkout.status(), end);
            harness.assert_consistent(&format!("{fault:?} {end:?}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_beyond_its_retry_budget_needs_attention_until_its_next_step() {
    let stuck_at = [
        (Reserve, Scenario::Success),
        (Hold, Scenario::Success),
        (Charge, Scenario::Success),
        (Confirm, Scenario::Success),
        (Release, Scenario::Declined),
        (Release, Scenario::CartChanged),
        (GiveBack, Scenario::Declined),
        (Refund, Scenario::ReservationExpired),
    ];
    for (call, scenario) in stuck_at {
        let harness = scenario.harness();
        harness.peers.always(call, Fault::NeverArrives);
        let buying = harness.spawn_purchase(scenario.request());
        let began = tokio::time::Instant::now();
        while harness.needing_attention().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let budget = began.elapsed();
        assert!(
            budget > Duration::from_secs(10) && budget < Duration::from_mins(1),
            "{call:?}: {budget:?}"
        );
        let calls = harness.peers.calls_of(call);
        tokio::time::sleep(Duration::from_mins(5)).await;
        let more = harness.peers.calls_of(call) - calls;
        assert!(
            (8..=25).contains(&more),
            "{call:?}: {more} slow retries in five minutes"
        );
        let stuck = harness.only_checkout().await;
        assert!(stuck.needs_attention && !stuck.state.is_final(), "{stuck:?}");
        harness.peers.clear_faults();
        let checkout = buying.await.unwrap().unwrap().checkout;
        scenario.assert_end(&checkout, &format!("{call:?}"));
        assert!(harness.needing_attention().await.is_empty());
        harness.assert_consistent(&format!("{call:?}")).await;
    }
}
