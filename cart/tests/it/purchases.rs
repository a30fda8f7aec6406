//! Completed checkouts applied to carts.

use std::sync::{Arc, atomic::Ordering};

use cart::{
    app::{CartError, Carts, CompletedPurchase},
    domain::{CartId, ChangeOptions, CheckoutId, EventId, HoldRequest, UserId, Version},
    events::PurchaseHandler,
    ports::CartStore,
};
use events::{Event, Handler, HandlerError};
use jiff::Timestamp;
use proto::events::CheckoutCompleted;
use runtime::{Ids, RequestContext};
use serde_json::{Value, json};
use testing::{Fixture, SqliteFixture};
use uuid::Uuid;

use crate::{
    fixtures::sqlite_store,
    support::{FakeStore, add, carts, expecting, memory_cache, pieces, product, quantities, quantity_of, user},
};

/// The data of a purchase, as checkout writes it.
pub(crate) fn purchase(user: &str, lines: &[(i64, i64)]) -> Value {
    let items: Vec<_> = lines
        .iter()
        .map(
            |(id, n)| json!({"product_id": id, "product_name": "p", "quantity": n, "unit_price": 1.0, "subtotal": 1.0}),
        )
        .collect();
    json!({
        "checkout_id": Uuid::from_u128(1), "order_id": Uuid::from_u128(2), "user_id": user, "items": items,
        "total_amount": 1.0, "currency": "USD", "payment_id": "pay", "cart_version": 1,
        "completed_at": "2026-01-01T00:00:00Z",
    })
}

pub(crate) fn event(id: Uuid, kind: &str, data: &Value) -> Event {
    Event {
        id,
        kind: kind.to_owned(),
        name: "name".to_owned(),
        source: "/checkout".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        key: "key".to_owned(),
        context: RequestContext::new(&Ids::random()),
        data: data.to_string().into(),
    }
}

fn completed(data: &Value) -> Event {
    event(Ids::random().next(), CheckoutCompleted::KIND, data)
}

async fn lines(carts: &Carts) -> Vec<(i64, i64)> {
    quantities(&carts.get_cart(&user()).await.unwrap())
}

#[tokio::test]
async fn a_repeated_event_counts_once_and_what_was_added_since_stays() {
    let carts = carts(Arc::new(FakeStore::default()), memory_cache());
    let handler = PurchaseHandler::new(carts.clone());
    add(&carts, 1, 2).await;
    add(&carts, 2, 1).await;
    let event = completed(&purchase("u", &[(1, 2), (2, 1)]));
    add(&carts, 1, 3).await;
    add(&carts, 3, 1).await;
    handler.handle(&event).await.unwrap();
    assert_eq!(lines(&carts).await, [(1, 3), (3, 1)], "also in the cache");
    add(&carts, 2, 1).await;
    handler.handle(&event).await.unwrap();
    assert_eq!(lines(&carts).await, [(1, 3), (3, 1), (2, 1)]);
}

#[tokio::test]
async fn redelivery_of_the_topic_changes_no_cart() {
    let files = SqliteFixture::new().unwrap();
    let carts = carts(sqlite_store(&files).await, memory_cache());
    let handler = PurchaseHandler::new(carts.clone());
    let ids = Ids::random();
    let mut topic = Vec::new();
    for n in 0..300 {
        let id = n % 7 + 1;
        add(&carts, id, 2).await;
        let event = event(
            ids.next(),
            CheckoutCompleted::KIND,
            &purchase("u", &[(id, 1), (id + 1, 1)]),
        );
        handler.handle(&event).await.unwrap();
        topic.push(event);
    }
    add(&carts, 50, 9).await;
    let before = carts.get_cart(&user()).await.unwrap();
    for _ in 0..2 {
        for event in &topic {
            handler.handle(event).await.unwrap();
        }
    }
    assert_eq!(carts.get_cart(&user()).await.unwrap(), before);
}

#[tokio::test]
async fn racing_deliveries_of_one_event_count_once() {
    let files = SqliteFixture::new().unwrap();
    let store = sqlite_store(&files).await;
    let shops = [carts(store.clone(), memory_cache()), carts(store, memory_cache())];
    add(&shops[0], 1, 20).await;
    let purchase = CompletedPurchase {
        checkout: CheckoutId(Uuid::from_u128(1)),
        event: EventId(Ids::random().next()),
        held: false,
        items: vec![quantity_of(1, 3)],
    };
    let deliveries = (0..16).map(|n| shops[n % 2].complete_purchase(user(), purchase.clone()));
    for delivered in futures::future::join_all(deliveries).await {
        delivered.unwrap();
    }
    assert_eq!(
        shops[0].clear_cart(user(), expecting(2)).await.unwrap().version,
        Version(3)
    );
}

#[tokio::test]
async fn a_purchase_without_a_cart_changes_nothing() {
    let store = Arc::new(FakeStore::default());
    let handler = PurchaseHandler::new(carts(store.clone(), memory_cache()));
    handler.handle(&completed(&purchase("u", &[(1, 2)]))).await.unwrap();
    assert_eq!(store.load(&user()).await.unwrap(), None);
}

#[tokio::test]
async fn a_purchase_of_products_that_are_not_in_the_cart_counts_once() {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), memory_cache());
    add(&carts, 1, 1).await;
    let event = completed(&purchase("u", &[(2, 2)]));
    let handler = PurchaseHandler::new(carts.clone());
    handler.handle(&event).await.unwrap();
    add(&carts, 2, 5).await;
    handler.handle(&event).await.unwrap();
    assert_eq!(lines(&carts).await, [(1, 1), (2, 5)]);
}

#[tokio::test]
async fn the_consumer_handles_completed_checkouts_only() {
    let handler = PurchaseHandler::new(carts(Arc::new(FakeStore::default()), memory_cache()));
    assert_eq!(handler.kinds(), [CheckoutCompleted::KIND]);
}

#[tokio::test]
async fn an_invalid_event_is_poisoned_and_changes_nothing() {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), memory_cache());
    add(&carts, 1, 5).await;
    let mut without_user = purchase("u", &[(1, 1)]);
    without_user.as_object_mut().unwrap().remove("user_id");
    let poisons = [
        json!("nonsense"),
        json!({}),
        without_user,
        purchase("", &[(1, 1)]),
        purchase("u\u{0}", &[(1, 1)]),
        purchase(&"u".repeat(129), &[(1, 1)]),
        purchase("u", &[]),
        purchase("u", &[(1, 1), (1, 0)]),
        purchase("u", &[(1, -1)]),
        purchase("u", &[(1, i64::MAX)]),
        purchase("u", &[(0, 1)]),
        purchase("u", &[(-1, 1)]),
    ];
    let handler = PurchaseHandler::new(carts.clone());
    for poison in poisons {
        let outcome = handler.handle(&completed(&poison)).await;
        assert!(
            matches!(&outcome, Err(HandlerError::Poisoned(reason)) if !reason.is_empty()),
            "{poison}: {outcome:?}"
        );
    }
    let truncated = Event {
        data: b"{\"checkout_id\":".to_vec().into(),
        ..completed(&json!(0))
    };
    let outcome = handler.handle(&truncated).await;
    assert!(matches!(outcome, Err(HandlerError::Poisoned(_))));
    assert_eq!(store.load(&user()).await.unwrap().unwrap().version, Version(1));
}

#[tokio::test]
async fn failures_of_the_store_are_transient() {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), memory_cache());
    add(&carts, 1, 5).await;
    let handler = PurchaseHandler::new(carts.clone());
    let event = completed(&purchase("u", &[(1, 2)]));
    store.down.store(true, Ordering::SeqCst);
    assert!(matches!(handler.handle(&event).await, Err(HandlerError::Transient(_))));
    store.down.store(false, Ordering::SeqCst);
    store.loses_answers.store(true, Ordering::SeqCst);
    assert!(matches!(handler.handle(&event).await, Err(HandlerError::Transient(_))));
    store.loses_answers.store(false, Ordering::SeqCst);
    handler.handle(&event).await.unwrap();
    assert_eq!(lines(&carts).await, [(1, 3)]);
    store.always_conflicts.store(true, Ordering::SeqCst);
    let next = completed(&purchase("u", &[(1, 1)]));
    assert!(matches!(handler.handle(&next).await, Err(HandlerError::Transient(_))));
}

#[tokio::test]
async fn a_purchase_changes_the_cart_of_its_customer_only() {
    let carts = carts(Arc::new(FakeStore::default()), memory_cache());
    add(&carts, 1, 5).await;
    let other = UserId::new("other").unwrap();
    carts
        .add_item(other.clone(), product(1), pieces(5), ChangeOptions::default())
        .await
        .unwrap();
    PurchaseHandler::new(carts.clone())
        .handle(&completed(&purchase("other", &[(1, 5)])))
        .await
        .unwrap();
    assert_eq!(lines(&carts).await, [(1, 5)]);
    assert!(carts.get_cart(&other).await.unwrap().lines.is_empty());
}

/// The event of checkout 1, which held its pieces.
fn held_purchase(lines: &[(i64, i64)]) -> Event {
    let mut data = purchase("u", lines);
    data["held"] = json!(true);
    completed(&data)
}

/// The request of checkout 1, made from the current cart.
async fn hold_request(carts: &Carts, lines: &[(i64, i64)]) -> HoldRequest {
    let cart = carts.get_cart(&user()).await.unwrap();
    HoldRequest {
        checkout: CheckoutId(Uuid::from_u128(1)),
        cart: cart.id,
        cart_version: cart.version,
        pieces: lines.iter().map(|(id, n)| quantity_of(*id, *n)).collect(),
    }
}

#[tokio::test]
async fn a_completed_checkout_takes_what_it_held_and_nothing_else() {
    let carts = carts(Arc::new(FakeStore::default()), memory_cache());
    let handler = PurchaseHandler::new(carts.clone());
    add(&carts, 1, 2).await;
    let request = hold_request(&carts, &[(1, 2)]).await;
    carts.hold(user(), request.clone()).await.unwrap();
    assert_eq!(lines(&carts).await, []);
    // A line that is added again during the purchase is another line.
    add(&carts, 1, 1).await;
    let event = held_purchase(&[(1, 2)]);
    for _ in 0..3 {
        handler.handle(&event).await.unwrap();
        assert_eq!(lines(&carts).await, [(1, 1)]);
        assert!(carts.get_cart(&user()).await.unwrap().holds.is_empty());
    }
    let late = carts.hold(user(), request).await;
    assert!(matches!(late, Err(CartError::HoldRefused)), "{late:?}");
    assert_eq!(lines(&carts).await, [(1, 1)]);
}

#[tokio::test]
async fn an_event_whose_hold_is_gone_changes_nothing() {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), memory_cache());
    add(&carts, 1, 2).await;
    PurchaseHandler::new(carts.clone())
        .handle(&held_purchase(&[(1, 2)]))
        .await
        .unwrap();
    let cart = store.load(&user()).await.unwrap().unwrap();
    assert_eq!(
        (quantities(&cart).as_slice(), cart.version),
        ([(1, 2)].as_slice(), Version(1))
    );
}

#[tokio::test]
async fn an_event_without_the_held_flag_drops_a_hold_as_well() {
    let carts = carts(Arc::new(FakeStore::default()), memory_cache());
    add(&carts, 1, 5).await;
    let request = hold_request(&carts, &[(1, 2)]).await;
    carts.hold(user(), request).await.unwrap();
    PurchaseHandler::new(carts.clone())
        .handle(&completed(&purchase("u", &[(1, 2)])))
        .await
        .unwrap();
    assert_eq!(lines(&carts).await, [(1, 3)]);
    assert!(carts.get_cart(&user()).await.unwrap().holds.is_empty());
}

#[tokio::test]
async fn a_cart_created_by_a_fast_clock_loses_what_was_bought() {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), memory_cache());
    add(&carts, 1, 2).await;
    let mut cart = store.load(&user()).await.unwrap().unwrap();
    let ahead = runtime::Clock::system().now() + jiff::SignedDuration::from_hours(72);
    (cart.id, cart.version) = (None, Version(1));
    cart.bump_version(CartId(Uuid::from_u128(9)), ahead);
    store.save(&cart, Some(Version(1))).await.unwrap();
    let request = HoldRequest {
        cart: cart.id,
        cart_version: cart.version,
        ..hold_request(&carts, &[(1, 2)]).await
    };
    carts.hold(user(), request).await.unwrap();
    PurchaseHandler::new(carts.clone())
        .handle(&held_purchase(&[(1, 2)]))
        .await
        .unwrap();
    let cart = store.load(&user()).await.unwrap().unwrap();
    assert!(cart.lines.is_empty() && cart.holds.is_empty(), "{cart:?}");
}

#[tokio::test]
async fn a_hold_whose_answer_was_lost_is_made_once() {
    let store = Arc::new(FakeStore::default());
    let carts = carts(store.clone(), memory_cache());
    add(&carts, 1, 4).await;
    let request = hold_request(&carts, &[(1, 2)]).await;
    store.loses_answers.store(true, Ordering::SeqCst);
    let lost = carts.hold(user(), request.clone()).await;
    assert!(matches!(lost, Err(CartError::Store(_))), "{lost:?}");
    let lost = carts.give_back(user(), CheckoutId(Uuid::from_u128(2))).await;
    assert!(lost.is_ok(), "without a hold nothing is written");
    store.loses_answers.store(false, Ordering::SeqCst);
    let cart = carts.hold(user(), request).await.unwrap();
    assert_eq!(
        (quantities(&cart).as_slice(), cart.holds.len()),
        ([(1, 2)].as_slice(), 1)
    );
    let cart = carts.give_back(user(), CheckoutId(Uuid::from_u128(1))).await.unwrap();
    assert_eq!(
        (quantities(&cart).as_slice(), cart.holds.len()),
        ([(1, 4)].as_slice(), 0)
    );
}
