//! The event of a finished purchase.

use checkout::domain::Checkout;
use events::Event;
use money::Currency;
use proto::events::{CheckoutCompleted, CheckoutFailed, PurchasedItem};
use runtime::{Ids, RequestContext};
use saga::State as _;
use uuid::Uuid;

use crate::{
    fake_peers::{Fault, PeerCall, ledger::payment_id},
    harness::{Harness, paid_with, request},
};

/// Asserts that there is one event, and returns it.
fn only_event(harness: &Harness) -> Event {
    let mut outbox = harness.journal.outbox();
    assert_eq!(outbox.len(), 1);
    outbox.remove(0)
}

fn assert_envelope(event: &Event, checkout: &Checkout, (kind, name): (&str, &str)) {
    assert_eq!((event.kind.as_str(), event.name.as_str()), (kind, name));
    assert_eq!(
        (event.source.as_str(), &event.key),
        ("/checkout", &checkout.id.to_string())
    );
    assert_ne!(event.id, checkout.id.0);
    assert!(event.time >= checkout.created_at);
}

#[tokio::test(start_paused = true)]
async fn a_completed_purchase_publishes_all_that_an_order_needs() {
    let harness = Harness::new();
    let checkout = harness.buy(request("k")).await;
    let event = only_event(&harness);
    assert_envelope(
        &event,
        &checkout,
        ("cartwright.checkout.completed.v1", "CheckoutCompleted"),
    );
    let json: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
    assert_eq!(json["total_amount"].to_string(), "22.5", "a number: {json}");
    let text = std::str::from_utf8(&event.data).unwrap();
    assert!(text.contains("\"total_amount\":22.50"), "with two decimals: {text}");
    let data: CheckoutCompleted = serde_json::from_slice(&event.data).unwrap();
    let item = |product_id, quantity, unit_price: &str, subtotal: &str| PurchasedItem {
        product_id,
        product_name: format!("Product {product_id}"),
        quantity,
        unit_price: unit_price.parse().unwrap(),
        subtotal: subtotal.parse().unwrap(),
    };
    let expected = CheckoutCompleted {
        checkout_id: checkout.id.0,
        order_id: checkout.id.order_id().0,
        user_id: checkout.user.as_str().to_owned(),
        items: vec![item(1, 2, "10.00", "20.00"), item(2, 1, "2.50", "2.50")],
        total_amount: "22.50".parse().unwrap(),
        currency: Currency::USD,
        payment_id: payment_id(checkout.id),
        cart_version: 7,
        held: true,
        completed_at: event.time,
    };
    assert_eq!(data, expected);
    assert_eq!(data.order_id.get_version_num(), 5);
    assert_eq!(
        data.order_id,
        Uuid::new_v5(&Uuid::NAMESPACE_OID, checkout.id.0.as_bytes())
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_purchase_publishes_its_reason() {
    for (method, reason) in [("pm_card_declined", "CARD_DECLINED"), ("pm_card_ok", "OUT_OF_STOCK")] {
        let harness = Harness::new();
        if reason == "OUT_OF_STOCK" {
            harness.peers.ledger().sell_out();
        }
        let checkout = harness.buy(paid_with("k", method)).await;
        let event = only_event(&harness);
        assert_envelope(&event, &checkout, ("cartwright.checkout.failed.v1", "CheckoutFailed"));
        let data: CheckoutFailed = serde_json::from_slice(&event.data).unwrap();
        let expected = CheckoutFailed {
            checkout_id: checkout.id.0,
            user_id: checkout.user.as_str().to_owned(),
            reason: reason.to_owned(),
            message: checkout.state.failure().unwrap().message.clone(),
            failed_at: event.time,
        };
        assert_eq!(data, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_carries_the_request_that_caused_it() {
    let harness = Harness::new();
    let context = RequestContext::new(&Ids::random());
    // The saga outlives the request.
    harness
        .peers
        .script(PeerCall::Confirm, vec![Some(Fault::AnswerLost); 5]);
    let initiate = harness
        .checkouts
        .initiate(request("k"), std::time::Duration::from_millis(1));
    let answer = context.clone().scope(initiate).await.unwrap();
    assert!(!answer.checkout.state.is_final());
    harness.wait_for_end(answer.checkout.id).await;
    assert_eq!(only_event(&harness).context, context);
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_purchase_publishes_nothing() {
    let harness = Harness::new();
    for call in [PeerCall::Reserve, PeerCall::Hold, PeerCall::Charge, PeerCall::Confirm] {
        let pause = harness.peers.pause_after(call);
        let buying = harness.spawn_purchase(request(&format!("{call:?}")));
        pause.reached().await;
        let events = harness.journal.outbox().len();
        pause.resume();
        buying.await.unwrap().unwrap();
        assert_eq!(harness.journal.outbox().len(), events + 1, "{call:?}");
    }
    harness.assert_consistent("one event each").await;
}
