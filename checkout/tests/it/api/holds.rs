//! Several checkouts of one cart; the total and the cart version that the customer was shown.

use checkout::domain::{CheckoutId, UserId};
use proto::{
    Reason,
    checkout::v1::{Checkout, CheckoutStatus, Failure, InitiateCheckoutRequest},
    money::v1::Money,
    status,
};
use runtime::{Ids, Tasks};
use serde_json::json;
use tonic::Status;

use super::{
    outcomes::statuses,
    refusals::{assert_refused, metadata},
    shop::{Shop, paid_with, request, usd},
};
use crate::fake_peers::PeerCall;

/// A request of the customer of the key `k`, under another key.
fn by_same_customer(key: &str) -> InitiateCheckoutRequest {
    InitiateCheckoutRequest {
        user_id: request("k").user_id,
        ..request(key)
    }
}

async fn refused(shop: &Shop, request: InitiateCheckoutRequest) -> Status {
    shop.initiate(request).await.unwrap_err()
}

async fn all(shop: &Shop) -> Vec<Checkout> {
    shop.list(proto::checkout::v1::ListCheckoutsRequest::default())
        .await
        .unwrap()
        .checkouts
}

#[tokio::test]
async fn a_checkout_whose_hold_is_refused_fails_with_cart_changed() {
    let shop = Shop::open().await;
    shop.peers.ledger().carts.cleared_before_hold = true;
    let checkout = shop.buy(request("k")).await;
    let failure = Failure {
        reason: "CART_CHANGED".to_owned(),
        message: "refused: CART_CHANGED".to_owned(),
        items: Vec::new(),
    };
    assert_eq!(
        (checkout.status(), checkout.failure.as_ref()),
        (CheckoutStatus::Failed, Some(&failure))
    );
    let shown = shop.get(&checkout.user_id, &checkout.checkout_id).await.unwrap();
    let path = [
        CheckoutStatus::Initiated,
        CheckoutStatus::InventoryReserved,
        CheckoutStatus::Failed,
    ];
    assert_eq!(statuses(&shown.history), path);
    assert_eq!(shop.peers.calls_of(PeerCall::Charge), 0);
    let again = shop.initiate(request("k")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.checkout, Some(checkout));
}

#[tokio::test]
async fn of_two_checkouts_of_one_cart_one_completes() {
    let shop = Shop::open().await;
    // Both read the cart before either Hold.
    let pauses = [
        shop.peers.pause_before(PeerCall::Hold),
        shop.peers.pause_before(PeerCall::Hold),
    ];
    let tasks = Tasks::new();
    let buying = [request("k"), by_same_customer("k2")].map(|request| tasks.spawn(shop.initiate(request)));
    for pause in &pauses {
        pause.reached().await;
    }
    for pause in pauses {
        pause.resume();
    }
    let mut ends = Vec::new();
    for buying in buying {
        let checkout = buying.await.unwrap().unwrap().checkout.unwrap();
        ends.push(checkout.failure.map(|failure| failure.reason));
    }
    ends.sort();
    assert_eq!(ends, [None, Some("CART_CHANGED".to_owned())]);
    assert_eq!(shop.peers.calls_of(PeerCall::Charge), 1);
}

#[tokio::test]
async fn a_cart_held_by_a_running_checkout_is_in_progress_and_empty_after_its_end() {
    let shop = Shop::open().await;
    let pause = shop.peers.pause_before(PeerCall::Charge);
    let buying = Tasks::new().spawn(shop.initiate(request("k")));
    pause.reached().await;
    let running = all(&shop).await.remove(0);
    for _ in 0..2 {
        let refused = refused(&shop, by_same_customer("k2")).await;
        assert_refused(&refused, Reason::CheckoutInProgress, &[]);
        let named = status::metadata(&refused, "checkout_id");
        assert_eq!(named.as_ref(), Some(&running.checkout_id));
    }
    pause.resume();
    let bought = buying.await.unwrap().unwrap().checkout.unwrap();
    assert_eq!(bought.status(), CheckoutStatus::Completed);
    // The hold stays in the cart until the cart reads the event.
    assert_refused(&refused(&shop, by_same_customer("k2")).await, Reason::CartEmpty, &[]);
    assert_eq!(all(&shop).await.len(), 1);
    shop.peers.fill_cart(&[(1, 1, 1000)]);
    let next = shop.initiate(by_same_customer("k2")).await.unwrap();
    assert!(!next.replayed, "the key was free");
    assert_eq!(next.checkout.unwrap().total_amount, Some(usd(1000)));
}

#[tokio::test]
async fn the_pieces_of_a_declined_purchase_can_be_bought_at_once() {
    let shop = Shop::open().await;
    let declined = shop.buy(paid_with("k", "pm_card_declined")).await;
    assert_eq!(declined.status(), CheckoutStatus::Failed);
    let bought = shop.buy(by_same_customer("k2")).await;
    assert_eq!(
        (bought.status(), bought.items),
        (CheckoutStatus::Completed, declined.items)
    );
}

#[tokio::test]
async fn a_cart_with_the_maximum_of_holds_is_unavailable() {
    let shop = Shop::open().await;
    let (ids, user) = (Ids::random(), UserId::new(request("k").user_id).unwrap());
    let hold = |shop: &Shop, count| {
        let holders: Vec<_> = (0..count).map(|_| CheckoutId(ids.next())).collect();
        shop.peers.ledger().carts.add_empty_holds(holders, &user);
    };
    hold(&shop, 50);
    assert_refused(&refused(&shop, request("k")).await, Reason::ServiceUnavailable, &[]);
    assert_eq!(all(&shop).await, []);
    let only_read = |call: &PeerCall| matches!(call, PeerCall::GetCart | PeerCall::GetPrices);
    assert!(shop.peers.calls().iter().all(only_read));
    // The limit is per cart.
    assert_eq!(shop.buy(request("other")).await.status(), CheckoutStatus::Completed);

    let shop = Shop::open().await;
    hold(&shop, 49);
    assert_eq!(shop.buy(request("k")).await.status(), CheckoutStatus::Completed);
}

fn expecting(key: &str, total: Option<Money>, accept_price_changes: bool) -> InitiateCheckoutRequest {
    InitiateCheckoutRequest {
        expected_total: total,
        accept_price_changes,
        ..request(key)
    }
}

fn euros(minor_units: i64) -> Money {
    Money {
        currency_code: "EUR".to_owned(),
        ..usd(minor_units)
    }
}

/// An amount in the currency of the cart.
fn amount(minor_units: i64) -> Money {
    Money {
        currency_code: String::new(),
        minor_units,
    }
}

#[tokio::test]
async fn a_purchase_with_another_total_than_the_shown_one_is_refused() {
    let shop = Shop::open().await;
    for (total, accept) in [(usd(2250), false), (amount(2250), false), (usd(2250), true)] {
        let bought = shop
            .buy(expecting(&format!("{total:?} {accept}"), Some(total), accept))
            .await;
        assert_eq!(bought.total_amount, Some(usd(2250)));
    }
    for total in [usd(2249), usd(0), euros(2250), amount(2251), usd(i64::MAX)] {
        for accept in [false, true] {
            let refused = refused(&shop, expecting("k", Some(total.clone()), accept)).await;
            assert_refused(&refused, Reason::PriceChanged, &[]);
            assert_eq!(metadata(&refused, "changes"), json!([]));
            assert_eq!(metadata(&refused, "total_minor"), json!(2250));
        }
    }
    // A price changes after the customer looked.
    shop.peers.set_price(2, 300);
    for (total, accept) in [(usd(2250), true), (usd(2250), false), (usd(2300), false)] {
        let refused = refused(&shop, expecting("k", Some(total), accept)).await;
        assert_refused(&refused, Reason::PriceChanged, &[]);
        let changes = json!([{ "product_id": 2, "old_minor": 250, "new_minor": 300 }]);
        assert_eq!(metadata(&refused, "changes"), changes);
        assert_eq!(metadata(&refused, "total_minor"), json!(2300));
    }
    let bought = shop.initiate(expecting("k", Some(usd(2300)), true)).await.unwrap();
    assert!(!bought.replayed, "the key was free");
    assert_eq!(bought.checkout.unwrap().total_amount, Some(usd(2300)));
}

#[tokio::test]
async fn an_invalid_or_missing_expected_total_is_refused() {
    let shop = Shop::open().await;
    let no_currency = Money {
        currency_code: "money".to_owned(),
        ..usd(2250)
    };
    for (total, accept) in [(None, true), (Some(usd(-1)), false), (Some(no_currency), false)] {
        let refused = refused(&shop, expecting("k", total, accept)).await;
        assert_refused(&refused, Reason::InvalidArgument, &["expected_total"]);
    }
    assert_eq!(all(&shop).await, []);
    assert_eq!(shop.buy(request("k")).await.status(), CheckoutStatus::Completed);
}

fn of_version(key: &str, cart_version: i64) -> InitiateCheckoutRequest {
    InitiateCheckoutRequest {
        cart_version: Some(cart_version),
        ..request(key)
    }
}

#[tokio::test]
async fn a_cart_of_another_version_than_the_shown_one_is_refused() {
    let shop = Shop::open().await;
    for other in [0, 6, 8, i64::MAX] {
        let refused = refused(&shop, of_version("k", other)).await;
        assert_refused(&refused, Reason::CartVersionMismatch, &[]);
        assert_eq!(metadata(&refused, "version"), json!(7));
    }
    let negative = refused(&shop, of_version("k", -1)).await;
    assert_refused(&negative, Reason::InvalidArgument, &["cart_version"]);
    let bought = shop.initiate(of_version("k", 7)).await.unwrap();
    assert!(!bought.replayed, "the key was free");
}

#[tokio::test]
async fn a_known_key_is_answered_before_the_cart_is_compared() {
    let shop = Shop::open().await;
    let shown = |total, version| InitiateCheckoutRequest {
        expected_total: Some(usd(total)),
        cart_version: version,
        ..request("k")
    };
    let first = shop.buy(shown(2250, Some(7))).await;
    shop.peers.set_price(1, 1100);
    shop.peers.fill_cart(&[(1, 1, 1000)]);
    // The purchase changed the version of the cart, so the version is not part of the fingerprint.
    for version in [Some(7), Some(8), None] {
        let again = shop.initiate(shown(2250, version)).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.checkout.as_ref(), Some(&first));
    }
    let others = [shown(2249, Some(7)), shown(1100, None), request("k")];
    for other in others {
        assert_refused(&refused(&shop, other).await, Reason::IdempotencyKeyReused, &[]);
    }
    assert_eq!(all(&shop).await, [first]);
}

#[tokio::test]
async fn a_cart_with_more_lines_than_a_purchase_may_have_is_refused() {
    let shop = Shop::open().await;
    for product in 1..=101 {
        shop.peers.set_price(product, 100);
        let stocked = checkout::domain::ProductId::new(product).unwrap();
        shop.peers.ledger().available.insert(stocked, 10);
    }
    let lines: Vec<_> = (1..=101).map(|product| (product, 1, 100)).collect();
    shop.peers.fill_cart(&lines);
    let refused = refused(&shop, request("k")).await;
    assert_refused(&refused, Reason::CartFull, &[]);
    assert_eq!(metadata(&refused, "max"), json!(100));
    shop.peers.fill_cart(&lines[1..]);
    let bought = shop.buy(request("k")).await;
    assert_eq!((bought.status(), bought.items.len()), (CheckoutStatus::Completed, 100));
}
