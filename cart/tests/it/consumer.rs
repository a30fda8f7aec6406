//! The consumer from the bus to the cart.

use events::{DeadLetters, Event};
use proto::{
    cart::v1::{AddItemRequest, Cart, GetCartRequest},
    events::{CART_GROUP, CHECKOUTS, CheckoutCompleted, CheckoutFailed},
};
use runtime::Ids;
use serde_json::{Value, json};

use crate::{
    purchases::{event, purchase},
    support::{Shop, eventually},
};

async fn add(shop: &Shop, user: &str, product_id: i64, quantity: i32) {
    let request = AddItemRequest {
        user_id: user.to_owned(),
        product_id,
        quantity,
        expected_version: None,
        idempotency_key: String::new(),
    };
    shop.client.clone().add_item(request).await.unwrap();
}

async fn cart(shop: &Shop, user: &str) -> Cart {
    let request = GetCartRequest {
        user_id: user.to_owned(),
        fresh: false,
    };
    shop.client
        .clone()
        .get_cart(request)
        .await
        .unwrap()
        .into_inner()
        .cart
        .unwrap()
}

async fn quantities(shop: &Shop, user: &str) -> Vec<(i64, i32)> {
    cart(shop, user)
        .await
        .items
        .iter()
        .map(|item| (item.product_id, item.quantity))
        .collect()
}

fn completed(ids: &Ids, key: &str, data: &Value) -> Event {
    Event {
        key: key.to_owned(),
        ..event(ids.next(), CheckoutCompleted::KIND, data)
    }
}

async fn publish(shop: &Shop, events: impl IntoIterator<Item = Event>) {
    // The consumer may not have created the topic yet.
    shop.bus
        .ensure_topic(CHECKOUTS.name, CHECKOUTS.partitions)
        .await
        .unwrap();
    let messages = events.into_iter().map(|event| event.to_message()).collect();
    shop.bus.publish(CHECKOUTS.name, messages).await.unwrap();
}

#[tokio::test]
async fn what_was_bought_leaves_the_cart() {
    let shop = Shop::open().await;
    let ids = Ids::random();
    add(&shop, "u", 1, 2).await;
    add(&shop, "u", 2, 5).await;
    let failed = event(ids.next(), CheckoutFailed::KIND, &json!({}));
    let bought = completed(&ids, "a", &purchase("u", &[(1, 2), (2, 1)]));
    publish(&shop, [failed, bought.clone(), bought]).await;
    eventually("the purchase is applied", || async {
        quantities(&shop, "u").await == [(2, 4)]
    })
    .await;
    assert_eq!(cart(&shop, "u").await.version, 3);
}

#[tokio::test]
async fn the_consumer_creates_its_topic() {
    let shop = Shop::open().await;
    eventually("the topic is created", || async {
        shop.bus.publish(CHECKOUTS.name, Vec::new()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_poisoned_event_is_parked_and_the_others_go_on() {
    let shop = Shop::open().await;
    let ids = Ids::random();
    add(&shop, "u", 1, 2).await;
    let poisoned = completed(&ids, "a", &purchase("u", &[(1, 0)]));
    let good = completed(&ids, "a", &purchase("u", &[(1, 1)]));
    publish(&shop, [poisoned.clone(), good]).await;
    eventually("the good one is applied", || async {
        quantities(&shop, "u").await == [(1, 1)]
    })
    .await;
    let parked = DeadLetters::new(shop.bus.clone())
        .list(CHECKOUTS.name, CART_GROUP)
        .await
        .unwrap();
    assert_eq!(
        parked.iter().map(|letter| letter.id.clone()).collect::<Vec<_>>(),
        [poisoned.id.to_string()]
    );
    assert!(parked[0].reason.contains("quantity 0"), "{}", parked[0].reason);
}

#[tokio::test]
async fn redelivery_of_the_topic_after_a_restart_changes_no_cart() {
    let shop = Shop::open().await;
    let ids = Ids::random();
    add(&shop, "u", 1, 90).await;
    let all: Vec<_> = (0..30)
        .map(|n| completed(&ids, &format!("{n}"), &purchase("u", &[(1, 2)])))
        .collect();
    publish(&shop, all.clone()).await;
    eventually("all are applied", || async {
        quantities(&shop, "u").await == [(1, 30)]
    })
    .await;
    let before = cart(&shop, "u").await;

    let shop = shop.restart().await;
    assert_eq!(cart(&shop, "u").await, before);
    // A marker behind each event, with the same key. Once all markers are applied, so are all events.
    add(&shop, "marker", 1, 30).await;
    let marker = purchase("marker", &[(1, 1)]);
    let markers: Vec<_> = all.iter().map(|event| completed(&ids, &event.key, &marker)).collect();
    publish(&shop, all.into_iter().chain(markers)).await;
    eventually("all markers are applied", || async {
        quantities(&shop, "marker").await.is_empty()
    })
    .await;
    assert_eq!(cart(&shop, "u").await, before);
}
