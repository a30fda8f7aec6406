//! What a purchase is answered with.

use std::time::Duration;

use checkout::domain::CheckoutId;
use proto::{
    checkout::v1::{Checkout, CheckoutItem, CheckoutStatus, Failure, HistoryEntry, Shortage},
    events::{CheckoutCompleted, CheckoutFailed},
};

use super::shop::{PATIENCE, Shop, paid_with, request, usd};
use crate::{ledger::DECLINES, world::At};

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
async fn a_purchase_is_answered_with_all_there_is_to_know() {
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
            let told: CheckoutCompleted = serde_json::from_slice(&message.value).unwrap();
            assert_eq!(told.order_id.to_string(), bought.order_id);
        } else {
            assert_eq!(message.key, failed.checkout_id);
            assert_eq!(header("ce_type"), "cartwright.checkout.failed.v1");
            let told: CheckoutFailed = serde_json::from_slice(&message.value).unwrap();
            assert_eq!(told.reason, "CARD_DECLINED");
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
async fn what_was_out_of_stock_is_named() {
    let shop = Shop::open().await;
    shop.world
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
async fn a_purchase_that_takes_too_long_is_answered_as_it_stands() {
    let shop = Shop::with(Duration::from_millis(100)).await;
    let gate = shop.world.gate_behind(At::Charge);
    let first = shop.initiate(request("k")).await.unwrap();
    assert!(!first.replayed);
    assert_ne!(first.checkout.unwrap().status(), CheckoutStatus::Completed);
    gate.reached().await;
    let standing = shop.initiate(request("k")).await.unwrap();
    assert!(standing.replayed);
    let checkout = standing.checkout.unwrap();
    assert_eq!(checkout.status(), CheckoutStatus::PaymentPending);
    assert_eq!((checkout.payment_id.as_str(), &checkout.failure), ("", &None));
    gate.open();
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
    let end = tokio::time::timeout(PATIENCE, end).await.unwrap();
    assert_eq!(end.checkout_id, checkout.checkout_id);
}

#[tokio::test]
async fn a_purchase_is_ended_after_a_restart() {
    for at in [At::Reserve, At::Hold, At::Charge, At::Confirm] {
        let shop = Shop::with(Duration::from_millis(100)).await;
        let gate = shop.world.gate_behind(at);
        let standing = shop.buy(request("k")).await;
        // It is never opened: whoever waits there is as good as dead.
        gate.reached().await;
        assert_ne!(standing.status(), CheckoutStatus::Completed);
        let shop = shop.restarted(PATIENCE).await;
        let end = shop.initiate(request("k")).await.unwrap();
        assert!(end.replayed);
        let end = end.checkout.unwrap();
        assert_eq!(
            (end.status(), &end.checkout_id),
            (CheckoutStatus::Completed, &standing.checkout_id)
        );
        assert_eq!(shop.world.ledger().movements(id(&end)), [2250]);
        assert_eq!(shop.published(1).await[0].key, end.checkout_id);
    }
}
