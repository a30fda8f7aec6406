//! Answers of peers that say nothing of what they did: they are asked again, and nothing is guessed.

use checkout::domain::{CheckoutId, UserId};
use proto::{
    Reason,
    checkout::v1::{Checkout, CheckoutStatus},
    status::{self, Refusal},
};
use tonic::Status;

use super::shop::{Shop, paid_with, request};
use crate::{
    ledger::Hold,
    world::{At, FAULTS_OF_CONNECTIONS, PARTICIPANTS},
};

/// Statuses that are no refusals of the call that they answer.
fn riddles() -> Vec<Status> {
    vec![
        Status::cancelled("Timeout expired"),
        Status::unknown("transport error"),
        Status::deadline_exceeded("late"),
        Status::failed_precondition("of a proxy"),
        Status::not_found("of a proxy"),
        status::internal(),
        status::unavailable(),
        Refusal::new(Reason::CartFull, "not a reason of this call").into(),
        Refusal::new(Reason::InvalidArgument, "not a reason either").into(),
    ]
}

fn assert_books(shop: &Shop, checkout: &Checkout, what: &str) {
    let id = CheckoutId(checkout.checkout_id.parse().unwrap());
    let mut ledger = shop.world.ledger();
    let in_cart = ledger.carts.held(id, &UserId::new(checkout.user_id.clone()).unwrap());
    assert_eq!(
        in_cart.is_some(),
        checkout.status() == CheckoutStatus::Completed,
        "{what}"
    );
    if checkout.status() == CheckoutStatus::Completed {
        assert_eq!(
            (ledger.hold(id), ledger.movements(id)),
            (Some(&Hold::Sold), vec![2250]),
            "{what}"
        );
    } else {
        assert_eq!(checkout.status(), CheckoutStatus::Failed, "{what}");
        assert_eq!(
            (ledger.hold(id), ledger.charged(id)),
            (Some(&Hold::Released), 0),
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_no_refusal_leaves_the_outcome_open() {
    let shop = Shop::open().await;
    for at in [At::Reserve, At::Hold, At::Charge, At::Confirm] {
        for (n, riddle) in riddles().into_iter().enumerate() {
            let what = format!("{at:?}: {riddle:?}");
            shop.answer_next(at, riddle);
            let checkout = shop.buy(request(&format!("{at:?} {n}"))).await;
            assert_eq!(checkout.status(), CheckoutStatus::Completed, "{what}");
            assert_books(&shop, &checkout, &what);
        }
    }
    for at in [At::GiveBack, At::Release] {
        for (n, riddle) in riddles().into_iter().enumerate() {
            let what = format!("{at:?}: {riddle:?}");
            shop.answer_next(at, riddle);
            let checkout = shop.buy(paid_with(&format!("{at:?} {n}"), "pm_card_declined")).await;
            assert_books(&shop, &checkout, &what);
        }
    }
}

#[tokio::test]
async fn faults_of_the_connections_leave_the_verdict_as_it_was() {
    let shop = Shop::open().await;
    for at in PARTICIPANTS {
        for fault in FAULTS_OF_CONNECTIONS {
            for method in ["pm_card_ok", "pm_card_expired"] {
                let what = format!("{at:?} {fault:?} {method}");
                shop.world.script(At::Charge, [Some(crate::world::Fault::AnswerLost)]);
                shop.world.script(at, [Some(fault)]);
                let checkout = shop.buy(paid_with(&what, method)).await;
                shop.world.heal();
                if method == "pm_card_expired" {
                    assert_eq!(checkout.failure.as_ref().unwrap().reason, "CARD_EXPIRED", "{what}");
                } else {
                    assert_eq!(checkout.status(), CheckoutStatus::Completed, "{what}");
                }
                assert_books(&shop, &checkout, &what);
            }
        }
    }
}

#[tokio::test]
async fn a_hold_that_ran_out_is_refunded_over_the_wire_as_well() {
    let shop = Shop::open().await;
    shop.world.ledger().holds_are_short = true;
    for (n, riddle) in riddles().into_iter().enumerate() {
        shop.answer_next(At::Refund, riddle);
        shop.world.restock(10);
        let checkout = shop.buy(request(&format!("k{n}"))).await;
        assert_eq!(checkout.failure.as_ref().unwrap().reason, "RESERVATION_EXPIRED");
        assert_books(&shop, &checkout, "refunded");
    }
}
