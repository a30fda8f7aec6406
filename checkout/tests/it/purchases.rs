//! Purchases without faults of the peers: how each one ends, and in how many commits.

use std::time::Duration;

use checkout::{domain::Status, saga::State};
use saga::State as _;

use crate::{
    fake_peers::{
        PeerCall::{Charge, Confirm, GetCart, GetPrices, Hold, Reserve},
        ledger::{DECLINES, Reservation, payment_id},
    },
    harness::{Harness, TOTAL, paid_with, reason, request},
};

#[tokio::test(start_paused = true)]
async fn a_purchase_passes_every_forward_state_and_completes_once() {
    let harness = Harness::new();
    let checkout = harness.buy(request("k")).await;
    assert_eq!(checkout.status(), Status::Completed);
    assert_eq!(checkout.payment_id, Some(payment_id(checkout.id)));
    assert_eq!(checkout.purchase.total.minor_units(), TOTAL);
    let cart = checkout.purchase.cart;
    assert_eq!((cart.version, cart.id.is_some(), checkout.held), (7, true, true));
    let steps = "INITIATED INVENTORY_RESERVED CART_HELD PAYMENT_PENDING PAYMENT_COMPLETED COMPLETED";
    assert_eq!(harness.history(checkout.id).await.join(" "), steps);
    assert_eq!(harness.get(checkout.id).await, checkout, "the answer is what is stored");
    let calls = [GetCart, GetPrices, Reserve, Hold, Charge, Confirm];
    assert_eq!(harness.peers.calls(), calls);
    harness.assert_consistent("happy").await;
}

#[tokio::test(start_paused = true)]
async fn a_purchase_reads_the_journal_once_and_the_customers_records_once() {
    let harness = Harness::new();
    harness.buy(request("k")).await;
    assert_eq!((harness.journal.reads(), harness.records.reads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_purchase_makes_as_few_commits_as_is_safe() {
    let commits = async |harness: Harness, method: &str| {
        harness.buy(paid_with("k", method)).await;
        harness.journal.writes()
    };
    // Begin, PAYMENT_PENDING, the end.
    assert_eq!(commits(Harness::new(), "pm_card_ok").await, 3);
    assert_eq!(commits(Harness::new(), "pm_card_declined").await, 3);
    // REFUNDING has a commit of its own before the call.
    let harness = Harness::new();
    harness.peers.ledger().reservations_expire = true;
    assert_eq!(commits(harness, "pm_card_ok").await, 4);
    // So has RELEASING after a refused hold.
    let harness = Harness::new();
    harness.peers.ledger().carts.cleared_before_hold = true;
    assert_eq!(commits(harness, "pm_card_ok").await, 3);
    let harness = Harness::new();
    harness.peers.ledger().sell_out();
    assert_eq!(commits(harness, "pm_card_ok").await, 2);
}

/// The stored status before Confirm, after a charge of this duration.
async fn status_before_confirm(charge_takes: Duration) -> Status {
    let harness = Harness::new();
    let (charge, confirm) = (harness.peers.pause_after(Charge), harness.peers.pause_before(Confirm));
    let buying = harness.spawn_purchase(request("k"));
    charge.reached().await;
    tokio::time::sleep(charge_takes).await;
    charge.resume();
    confirm.reached().await;
    let status = harness.only_checkout().await.status();
    confirm.resume();
    assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
    harness.assert_consistent("before confirm").await;
    status
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_took_long_is_persisted_before_the_next_call() {
    assert_eq!(status_before_confirm(Duration::ZERO).await, Status::PaymentPending);
    assert_eq!(
        status_before_confirm(Duration::from_secs(7)).await,
        Status::PaymentCompleted
    );
}

#[tokio::test(start_paused = true)]
async fn a_purchase_that_is_out_of_stock_is_not_charged() {
    let harness = Harness::new();
    harness.peers.ledger().sell_out();
    let checkout = harness.buy(request("k")).await;
    assert_eq!(reason(&checkout), "OUT_OF_STOCK");
    let short: Vec<_> = checkout
        .state
        .failure()
        .unwrap()
        .shortages
        .iter()
        .map(|short| (short.product_id, short.requested, short.available))
        .collect();
    assert_eq!(short, [(1, 2, 0), (2, 1, 0)]);
    assert_eq!(harness.history(checkout.id).await, ["INITIATED", "FAILED"]);
    assert_eq!(harness.peers.calls_of(Charge), 0);
    harness.assert_consistent("out of stock").await;
}

#[tokio::test(start_paused = true)]
async fn a_declined_card_releases_the_stock() {
    let harness = Harness::new();
    let before = harness.peers.ledger().available.clone();
    for (method, expected) in DECLINES {
        let checkout = harness.buy(paid_with(method, method)).await;
        assert_eq!(reason(&checkout), expected.as_str());
        assert_eq!(checkout.payment_id, None);
        let steps = "INITIATED INVENTORY_RESERVED CART_HELD PAYMENT_PENDING GIVING_BACK RELEASING FAILED";
        assert_eq!(harness.history(checkout.id).await.join(" "), steps);
        assert_eq!(
            harness.peers.ledger().reservation(checkout.id),
            Some(&Reservation::Released)
        );
    }
    assert_eq!(harness.peers.ledger().available, before);
    harness.assert_consistent("declined").await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_reservation_is_refunded_if_its_stock_is_gone() {
    let harness = Harness::new();
    harness.peers.ledger().reservations_expire = true;
    let checkout = harness.buy(request("k")).await;
    assert_eq!(reason(&checkout), "RESERVATION_EXPIRED");
    let steps = "INITIATED INVENTORY_RESERVED CART_HELD PAYMENT_PENDING PAYMENT_COMPLETED REFUNDING GIVING_BACK RELEASING FAILED";
    assert_eq!(harness.history(checkout.id).await.join(" "), steps);
    assert_eq!(harness.peers.ledger().movements(checkout.id), [TOTAL, -TOTAL]);
    assert_eq!(
        harness.peers.ledger().reservation(checkout.id),
        Some(&Reservation::Released)
    );
    harness.assert_consistent("expired").await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_reservation_is_sold_if_there_is_stock() {
    let harness = Harness::new();
    let pause = harness.peers.pause_before(Confirm);
    let buying = harness.spawn_purchase(request("k"));
    pause.reached().await;
    let id = harness.only_checkout().await.id;
    harness.peers.ledger().expire(id);
    pause.resume();
    assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
    harness.assert_consistent("expired, but there").await;
}

#[tokio::test(start_paused = true)]
async fn concurrent_purchases_never_sell_the_last_pieces_twice() {
    let harness = Harness::new();
    harness.peers.restock(10);
    let buying: Vec<_> = (0..20)
        .map(|n| harness.spawn_purchase(request(&format!("k{n}"))))
        .collect();
    let mut completed = 0;
    for purchase in buying {
        let checkout = purchase.await.unwrap().unwrap().checkout;
        completed += usize::from(checkout.state == State::Completed);
    }
    // Each purchase takes two pieces of product 1.
    assert_eq!(completed, 5);
    assert_eq!(
        harness.peers.ledger().available[&checkout::domain::ProductId::new(1).unwrap()],
        0
    );
    harness.assert_consistent("last pieces").await;
}
