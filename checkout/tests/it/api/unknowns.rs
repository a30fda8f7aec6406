//! Answers of peers that leave the outcome unknown: the call is repeated, and nothing is compensated on a guess.

use checkout::domain::{CheckoutId, UserId};
use proto::{
    Reason,
    checkout::v1::{Checkout, CheckoutStatus},
    status::{self, Refusal},
};
use tonic::Status;

use super::shop::{Shop, paid_with, request};
use crate::fake_peers::{CONNECTION_FAULTS, Fault, PeerCall, SAGA_CALLS, ledger::Reservation};

/// Statuses that do not refuse the call.
fn not_refusals() -> Vec<Status> {
    vec![
        Status::cancelled("Timeout expired"),
        Status::unknown("transport error"),
        Status::deadline_exceeded("late"),
        Status::failed_precondition("of a proxy"),
        Status::not_found("of a proxy"),
        status::internal(),
        status::unavailable(),
        Refusal::new(Reason::CartFull, "not a reason of this call").into(),
        Refusal::new(Reason::InvalidArgument, "not a reason of a peer").into(),
    ]
}

fn assert_ledger(shop: &Shop, checkout: &Checkout, what: &str) {
    let id = CheckoutId(checkout.checkout_id.parse().unwrap());
    let mut ledger = shop.peers.ledger();
    let hold = ledger.carts.held(id, &UserId::new(checkout.user_id.clone()).unwrap());
    assert_eq!(hold.is_some(), checkout.status() == CheckoutStatus::Completed, "{what}");
    if checkout.status() == CheckoutStatus::Completed {
        assert_eq!(
            (ledger.reservation(id), ledger.movements(id)),
            (Some(&Reservation::Sold), vec![2250]),
            "{what}"
        );
    } else {
        assert_eq!(checkout.status(), CheckoutStatus::Failed, "{what}");
        assert_eq!(
            (ledger.reservation(id), ledger.charged(id)),
            (Some(&Reservation::Released), 0),
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_no_refusal_leaves_the_outcome_unknown() {
    let shop = Shop::open().await;
    for call in [PeerCall::Reserve, PeerCall::Hold, PeerCall::Charge, PeerCall::Confirm] {
        for (n, status) in not_refusals().into_iter().enumerate() {
            let what = format!("{call:?}: {status:?}");
            shop.answer_next(call, status);
            let checkout = shop.buy(request(&format!("{call:?} {n}"))).await;
            assert_eq!(checkout.status(), CheckoutStatus::Completed, "{what}");
            assert_ledger(&shop, &checkout, &what);
        }
    }
    for call in [PeerCall::GiveBack, PeerCall::Release] {
        for (n, status) in not_refusals().into_iter().enumerate() {
            let what = format!("{call:?}: {status:?}");
            shop.answer_next(call, status);
            let checkout = shop.buy(paid_with(&format!("{call:?} {n}"), "pm_card_declined")).await;
            assert_ledger(&shop, &checkout, &what);
        }
    }
}

#[tokio::test]
async fn faults_of_connections_leave_the_end_unchanged() {
    let shop = Shop::open().await;
    for call in SAGA_CALLS {
        for fault in CONNECTION_FAULTS {
            for method in ["pm_card_ok", "pm_card_expired"] {
                let what = format!("{call:?} {fault:?} {method}");
                shop.peers.script(PeerCall::Charge, [Some(Fault::AnswerLost)]);
                shop.peers.script(call, [Some(fault)]);
                let checkout = shop.buy(paid_with(&what, method)).await;
                shop.peers.clear_faults();
                if method == "pm_card_expired" {
                    assert_eq!(checkout.failure.as_ref().unwrap().reason, "CARD_EXPIRED", "{what}");
                } else {
                    assert_eq!(checkout.status(), CheckoutStatus::Completed, "{what}");
                }
                assert_ledger(&shop, &checkout, &what);
            }
        }
    }
}

#[tokio::test]
async fn an_expired_reservation_is_refunded_after_unknown_refunds() {
    let shop = Shop::open().await;
    shop.peers.ledger().reservations_expire = true;
    for (n, status) in not_refusals().into_iter().enumerate() {
        shop.answer_next(PeerCall::Refund, status);
        shop.peers.restock(10);
        let checkout = shop.buy(request(&format!("k{n}"))).await;
        assert_eq!(checkout.failure.as_ref().unwrap().reason, "RESERVATION_EXPIRED");
        assert_ledger(&shop, &checkout, "refunded");
    }
}
