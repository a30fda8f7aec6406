//! Purchases where nothing goes wrong but the customer's luck.

use std::time::Duration;

use checkout::{domain::Status, saga::State};
use saga::State as _;

use crate::{
    harness::{Harness, TOTAL, paid_with, reason, request},
    ledger::{DECLINES, Hold, payment_id},
    world::At,
};

#[tokio::test(start_paused = true)]
async fn a_purchase_happens_completely_and_once() {
    let harness = Harness::new();
    let checkout = harness.buy(request("k")).await;
    assert_eq!(checkout.status(), Status::Completed);
    assert_eq!(checkout.payment_id, Some(payment_id(checkout.id)));
    assert_eq!(checkout.purchase.total.minor_units(), TOTAL);
    let cart = checkout.purchase.cart;
    assert_eq!((cart.version, cart.id.is_some(), checkout.held), (7, true, true));
    let steps = [
        "INITIATED",
        "INVENTORY_RESERVED",
        "CART_HELD",
        "PAYMENT_PENDING",
        "PAYMENT_COMPLETED",
        "COMPLETED",
    ];
    assert_eq!(harness.history(checkout.id).await, steps);
    assert_eq!(harness.get(checkout.id).await, checkout, "the answer is what is stored");
    let calls = [At::Cart, At::Prices, At::Reserve, At::Hold, At::Charge, At::Confirm];
    assert_eq!(harness.world.calls(), calls);
    harness.assert_sound("happy").await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_is_looked_into_once_when_nothing_is_in_the_way() {
    let harness = Harness::new();
    harness.buy(request("k")).await;
    assert_eq!(harness.journal.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_purchase_is_written_down_in_as_few_commits_as_is_safe() {
    let write = async |harness: Harness, method: &str| {
        harness.buy(paid_with("k", method)).await;
        harness.journal.writes()
    };
    // It begins, may be charged, and ends.
    assert_eq!(write(Harness::new(), "pm_card_ok").await, 3);
    assert_eq!(write(Harness::new(), "pm_card_declined").await, 3);
    // The refund is intended before it is made.
    let harness = Harness::new();
    harness.world.ledger().holds_are_short = true;
    assert_eq!(write(harness, "pm_card_ok").await, 4);
    // So is the release after a refused hold: it would hide why.
    let harness = Harness::new();
    harness.world.ledger().carts.always_change = true;
    assert_eq!(write(harness, "pm_card_ok").await, 3);
    let harness = Harness::new();
    harness.world.ledger().sell_out();
    assert_eq!(write(harness, "pm_card_ok").await, 2);
}

/// What is on disk when the stock is about to be sold.
async fn shown_at_confirm(charge_takes: Duration) -> Status {
    let harness = Harness::new();
    let (charge, confirm) = (
        harness.world.gate_behind(At::Charge),
        harness.world.gate_before(At::Confirm),
    );
    let buying = harness.start_to_buy(request("k"));
    charge.reached().await;
    tokio::time::sleep(charge_takes).await;
    charge.open();
    confirm.reached().await;
    let shown = harness.only().await.status();
    confirm.open();
    assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
    harness.assert_sound("shown").await;
    shown
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_took_long_is_written_down_before_anything_else() {
    assert_eq!(shown_at_confirm(Duration::ZERO).await, Status::PaymentPending);
    assert_eq!(shown_at_confirm(Duration::from_secs(7)).await, Status::PaymentCompleted);
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_stock_is_not_charged() {
    let harness = Harness::new();
    harness.world.ledger().sell_out();
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
    assert_eq!(harness.world.calls_of(At::Charge), 0);
    harness.assert_sound("out of stock").await;
}

#[tokio::test(start_paused = true)]
async fn a_declined_card_releases_the_stock() {
    let harness = Harness::new();
    let before = harness.world.ledger().available.clone();
    for (method, expected) in DECLINES {
        let checkout = harness.buy(paid_with(method, method)).await;
        assert_eq!(reason(&checkout), expected.as_str());
        assert_eq!(checkout.payment_id, None);
        let steps = [
            "INITIATED",
            "INVENTORY_RESERVED",
            "CART_HELD",
            "PAYMENT_PENDING",
            "GIVING_BACK",
            "RELEASING",
            "FAILED",
        ];
        assert_eq!(harness.history(checkout.id).await, steps);
        assert_eq!(harness.world.ledger().hold(checkout.id), Some(&Hold::Released));
    }
    assert_eq!(harness.world.ledger().available, before);
    harness.assert_sound("declined").await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_ran_out_is_refunded_when_its_stock_is_gone() {
    let harness = Harness::new();
    harness.world.ledger().holds_are_short = true;
    let checkout = harness.buy(request("k")).await;
    assert_eq!(reason(&checkout), "RESERVATION_EXPIRED");
    let steps = [
        "INITIATED",
        "INVENTORY_RESERVED",
        "CART_HELD",
        "PAYMENT_PENDING",
        "PAYMENT_COMPLETED",
        "REFUNDING",
        "GIVING_BACK",
        "RELEASING",
        "FAILED",
    ];
    assert_eq!(harness.history(checkout.id).await, steps);
    assert_eq!(harness.world.ledger().movements(checkout.id), [TOTAL, -TOTAL]);
    assert_eq!(harness.world.ledger().hold(checkout.id), Some(&Hold::Released));
    harness.assert_sound("expired").await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_ran_out_is_sold_when_there_is_still_stock() {
    let harness = Harness::new();
    let gate = harness.world.gate_before(At::Confirm);
    let buying = harness.start_to_buy(request("k"));
    gate.reached().await;
    let id = harness.only().await.id;
    harness.world.ledger().expire(id);
    gate.open();
    assert_eq!(buying.await.unwrap().unwrap().checkout.state, State::Completed);
    harness.assert_sound("expired, but there").await;
}

#[tokio::test(start_paused = true)]
async fn purchases_of_the_last_pieces_do_not_sell_them_twice() {
    let harness = Harness::new();
    harness.world.restock(10);
    let buying: Vec<_> = (0..20)
        .map(|n| harness.start_to_buy(request(&format!("k{n}"))))
        .collect();
    let mut completed = 0;
    for purchase in buying {
        let checkout = purchase.await.unwrap().unwrap().checkout;
        completed += usize::from(checkout.state == State::Completed);
    }
    // Two pieces of the first each.
    assert_eq!(completed, 5);
    assert_eq!(
        harness.world.ledger().available[&checkout::domain::ProductId::new(1).unwrap()],
        0
    );
    harness.assert_sound("last pieces").await;
}
