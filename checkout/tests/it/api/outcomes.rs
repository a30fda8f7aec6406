//! The answers to a purchase.

use std::time::Duration;

use checkout::domain::CheckoutId;
use proto::{
    checkout::v1::{Checkout, CheckoutItem, CheckoutStatus, Failure, HistoryEntry, Shortage},
    events::{CheckoutCompleted, CheckoutFailed},
};

use super::shop::{DEADLINE, Shop, paid_with, request, usd};
use crate::fake_peers::{PeerCall, ledger::DECLINES};

fn item(product_id: i64, quantity: i32, unit_price: i64, subtotal: i64) -> CheckoutItem {
    CheckoutItem {
        product_id,
        product_name: format!("Product {product_id}"),
        quantity,
        unit_price: Some(usd(unit_price)),
        subtotal: Some(usd(subtotal)),
    }
}

fn id(checkout: &Checkout) -> CheckoutId {
    CheckoutId(checkout.checkout_id.parse().unwrap())
}

pub(super) fn statuses(history: &[HistoryEntry]) -> Vec<CheckoutStatus> {
    history.iter().map(HistoryEntry::status).collect()
}

#[tokio::test]
async fn a_completed_purchase_is_answered_with_the_whole_checkout() {
    let shop = Shop::open().await;
    let answer = shop.initiate(request("k")).await.unwrap();
    assert!(!answer.replayed);
    let bought = answer.checkout.unwrap();
    let expected = Checkout {
        user_id: request("k").user_id,
        status: CheckoutStatus::Completed.into(),
        order_id: id(&bought).order_id().to_string(),
        items: vec![item(1, 2, 1000, 2000), item(2, 1, 250, 250)],
        total_amount: Some(usd(2250)),
        payment_id: format!("pay_{}", bought.checkout_id),
        ..bought.clone()
    };
    assert_eq!(bought, expected);
    assert!(bought.failure.is_none() && !bought.needs_attention && bought.history.is_empty());
    assert!(bought.created_at.is_some() && bought.updated_at.unwrap().seconds >= bought.created_at.unwrap().seconds);

    let again = shop.initiate(request("k")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.checkout.as_ref(), Some(&bought));

    let shown = shop.get(&bought.user_id, &bought.checkout_id).await.unwrap();
    let path = [
        CheckoutStatus::Initiated,
        CheckoutStatus::InventoryReserved,
        CheckoutStatus::PaymentPending,
        CheckoutStatus::PaymentCompleted,
        CheckoutStatus::Completed,
    ];
    assert_eq!(statuses(&shown.history), path);
    assert!(
        shown
            .history
            .iter()
            .all(|entry| entry.at.is_some() && !entry.detail.is_empty())
    );
    assert_eq!(
        Checkout {
            history: Vec::new(),
            ..shown
        },
        bought
    );
}

#[tokio::test]
async fn a_purchase_is_published_with_the_headers_of_an_event() {
    let shop = Shop::open().await;
    let mut call = tonic::Request::new(request("k"));
    call.metadata_mut().insert("x-request-id", "click-1".parse().unwrap());
    let bought = shop.client.clone().initiate_checkout(call).await.unwrap().into_inner();
    let bought = bought.checkout.unwrap();
    let failed = shop.buy(paid_with("k2", "pm_card_declined")).await;
    for message in shop.published(2).await {
        let header = |name| message.header(name).unwrap();
        assert_eq!(
            (header("ce_specversion"), header("content-type")),
            ("1.0", "application/json")
        );
        assert_eq!(header("ce_source"), "/checkout");
        if message.key == bought.checkout_id {
            assert_eq!(header("ce_type"), "cartwright.checkout.completed.v1");
            assert_eq!(
                (header("event_type"), header("x-request-id")),
                ("CheckoutCompleted", "click-1")
            );
            let data: CheckoutCompleted = serde_json::from_slice(&message.value).unwrap();
            assert_eq!(data.order_id.to_string(), bought.order_id);
        } else {
            assert_eq!(message.key, failed.checkout_id);
            assert_eq!(header("ce_type"), "cartwright.checkout.failed.v1");
            let data: CheckoutFailed = serde_json::from_slice(&message.value).unwrap();
            assert_eq!(data.reason, "CARD_DECLINED");
        }
    }
}

#[tokio::test]
async fn a_declined_card_is_an_outcome_and_not_an_error() {
    let shop = Shop::open().await;
    for (method, reason) in DECLINES {
        let checkout = shop.buy(paid_with(method, method)).await;
        assert_eq!(checkout.status(), CheckoutStatus::Failed);
        let failure = Failure {
            reason: reason.as_str().to_owned(),
            message: format!("refused: {}", reason.as_str()),
            items: Vec::new(),
        };
        assert_eq!(checkout.failure, Some(failure));
        assert_eq!(checkout.payment_id, "");
        let shown = shop.get(&checkout.user_id, &checkout.checkout_id).await.unwrap();
        let path = [
            CheckoutStatus::Initiated,
            CheckoutStatus::InventoryReserved,
            CheckoutStatus::PaymentPending,
            CheckoutStatus::Failed,
        ];
        assert_eq!(statuses(&shown.history), path, "compensation is not shown");
    }
}

#[tokio::test]
async fn out_of_stock_names_the_missing_pieces() {
    let shop = Shop::open().await;
    shop.peers
        .ledger()
        .available
        .insert(checkout::domain::ProductId::new(1).unwrap(), 1);
    let checkout = shop.buy(request("k")).await;
    assert_eq!(checkout.status(), CheckoutStatus::Failed);
    let failure = checkout.failure.unwrap();
    assert_eq!(failure.reason, "OUT_OF_STOCK");
    let short = Shortage {
        product_id: 1,
        requested: 2,
        available: 1,
    };
    assert_eq!(failure.items, [short]);
}

#[tokio::test]
async fn a_purchase_that_takes_longer_than_the_timeout_is_answered_with_its_state_so_far() {
    let shop = Shop::with_timeout(Duration::from_millis(100)).await;
    let pause = shop.peers.pause_after(PeerCall::Charge);
    let first = shop.initiate(request("k")).await.unwrap();
    assert!(!first.replayed);
    assert_ne!(first.checkout.unwrap().status(), CheckoutStatus::Completed);
    pause.reached().await;
    let unfinished = shop.initiate(request("k")).await.unwrap();
    assert!(unfinished.replayed);
    let checkout = unfinished.checkout.unwrap();
    assert_eq!(checkout.status(), CheckoutStatus::PaymentPending);
    assert_eq!((checkout.payment_id.as_str(), &checkout.failure), ("", &None));
    pause.resume();
    let end = async {
        loop {
            let answer = shop.initiate(request("k")).await.unwrap();
            assert!(answer.replayed);
            let checkout = answer.checkout.unwrap();
            if checkout.status() == CheckoutStatus::Completed {
                break checkout;
            }
        }
    };
    let end = tokio::time::timeout(DEADLINE, end).await.unwrap();
    assert_eq!(end.checkout_id, checkout.checkout_id);
}

#[tokio::test]
async fn a_purchase_is_finished_after_a_restart() {
    for call in [PeerCall::Reserve, PeerCall::Hold, PeerCall::Charge, PeerCall::Confirm] {
        let shop = Shop::with_timeout(Duration::from_millis(100)).await;
        let pause = shop.peers.pause_after(call);
        let unfinished = shop.buy(request("k")).await;
        // Never resumed: the first driver stays here.
        pause.reached().await;
        assert_ne!(unfinished.status(), CheckoutStatus::Completed);
        let shop = shop.restarted(DEADLINE).await;
        let end = shop.initiate(request("k")).await.unwrap();
        assert!(end.replayed);
        let end = end.checkout.unwrap();
        assert_eq!(
            (end.status(), &end.checkout_id),
            (CheckoutStatus::Completed, &unfinished.checkout_id)
        );
        assert_eq!(shop.peers.ledger().movements(id(&end)), [2250]);
        assert_eq!(shop.published(1).await[0].key, end.checkout_id);
    }
}
