//! Redelivered, invalid and redriven events.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use cartwright::http::Customer;
use events::{DeadLetters, Event, EventBus, Message, Parked};
use futures::future::try_join_all;
use http::StatusCode;
use proto::events::{CHECKOUTS, CheckoutCompleted, NOTIFICATION_GROUP, ORDERS_GROUP};
use runtime::{Ids, RequestContext};
use serde_json::{Value, json};
use system_tests::{
    home::Profile,
    shops::{Dump, Shop, until, wait_for},
};
use uuid::Uuid;

on_every_profile! {
    redelivered_events_change_nothing,
    an_invalid_event_is_parked_with_its_reason_and_later_events_are_applied,
    an_invalid_event_is_parked_again_after_a_redrive,
    a_redriven_event_is_applied_once_by_the_group_that_parked_it,
    an_event_of_a_later_version_is_parked_by_the_groups_that_know_its_name,
}

/// The rows of the stores of consumers.
async fn effects(shop: &Shop) -> Result<Dump> {
    let mut all = shop.dump().await?;
    all.retain(|table, _| {
        ["cart.", "orders.", "notification."]
            .iter()
            .any(|store| table.starts_with(store))
    });
    Ok(all)
}

/// The carts and orders of these customers.
async fn shown(shop: &Shop, users: &[String]) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for user in users {
        for path in ["/api/v1/cart", "/api/v1/orders?page_size=100"] {
            all.insert(format!("{user} {path}"), shop.buyer(user)?.read(path).await?);
        }
    }
    Ok(all)
}

/// Makes four purchases, one of them declined. Adds a line between the answer and the event of the last one.
async fn buy_four_times(shop: &Shop, user: &str) -> Result<()> {
    let buyer = shop.buyer(user)?;
    for (key, product, method) in [
        ("a", 1, "pm_card_ok"),
        ("b", 2, "pm_card_ok"),
        ("c", 3, "pm_card_declined"),
        ("d", 4, "pm_card_ok"),
    ] {
        buyer.buy_one(product, 2, key, method).await?;
        if key != "d" {
            until("the cart has lost what was bought", async || {
                let cart = buyer.read("/api/v1/cart").await?;
                let bought = cart["items"]
                    .as_array()
                    .is_none_or(|items| items.iter().all(|i| i["product_id"] != product));
                Ok(bought || method != "pm_card_ok")
            })
            .await?;
        }
    }
    buyer.add(4, 1).await?;
    buyer.add(5, 3).await
}

async fn redelivered_events_change_nothing(profile: Profile) -> Result<()> {
    let mut shop = Shop::open(profile).await?;
    let users: Vec<_> = (0..5).map(|n| format!("user-{n}")).collect();
    try_join_all(users.iter().map(|user| buy_four_times(&shop, user))).await?;
    shop.balance().await?;
    let (stored, seen) = (effects(&shop).await?, shown(&shop, &users).await?);
    assert_eq!(
        (
            stored["orders.orders"].len(),
            stored["notification.notifications"].len()
        ),
        (15, 20)
    );
    for user in &users {
        let items = &seen[&format!("{user} /api/v1/cart")]["items"];
        let items: Vec<_> = items
            .as_array()
            .into_iter()
            .flatten()
            .map(|i| (&i["product_id"], &i["quantity"]))
            .collect();
        assert_eq!(items, [(&json!(4), &json!(1)), (&json!(5), &json!(3))], "{user}");
    }
    for _ in 0..2 {
        shop.stop().await;
        shop.home().rewind().await?;
        shop.start().await?;
        shop.wait_until_idle().await?;
        assert_eq!(shown(&shop, &users).await?, seen);
        assert_eq!(effects(&shop).await?, stored);
    }
    shop.balance().await
}

/// A message with these data, as the outbox makes it.
fn message(shop: &Shop, data: impl Into<Bytes>) -> Message {
    let ids = Ids::random();
    let event = Event {
        id: ids.next(),
        kind: CheckoutCompleted::KIND.to_owned(),
        name: CheckoutCompleted::NAME.to_owned(),
        source: "/checkout".to_owned(),
        time: shop.clock().now(),
        key: ids.next().to_string(),
        context: RequestContext::new(&ids),
        data: data.into(),
    };
    event.to_message()
}

/// A purchase of a customer without a cart: two pieces for 10.00 each.
fn purchase(total: &str) -> String {
    let (checkout, order) = (Uuid::from_u128(71), Uuid::from_u128(72));
    format!(
        r#"{{"checkout_id":"{checkout}","order_id":"{order}","user_id":"nobody","items":[{{"product_id":2,
        "product_name":"Mouse","quantity":2,"unit_price":10.00,"subtotal":20.00}}],"total_amount":{total},"currency":"USD",
        "payment_id":"p","cart_version":1,"completed_at":"2026-01-01T00:00:00Z"}}"#
    )
}

/// Signs and publishes messages like the relay of this shop.
async fn publish(shop: &Shop, bus: &dyn EventBus, messages: Vec<Message>) -> Result<()> {
    let signatures = shop.home().signatures();
    let signed = messages
        .into_iter()
        .map(|message| signatures.sign(CHECKOUTS.name, message));
    Ok(bus.publish(CHECKOUTS.name, signed.collect()).await?)
}

async fn parked(letters: &DeadLetters, group: &str) -> Result<Vec<Parked>> {
    Ok(letters.list(CHECKOUTS.name, group).await?)
}

async fn an_invalid_event_is_parked_with_its_reason_and_later_events_are_applied(profile: Profile) -> Result<()> {
    let mut shop = Shop::open(profile).await?;
    shop.buyer("before")?.buy_one(1, 1, "key", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    shop.stop().await;
    let (garbage, wrong_sum) = (message(&shop, "{garbage"), message(&shop, purchase("20.01")));
    let mut nameless = message(&shop, purchase("20.00"));
    nameless.headers.retain(|(name, _)| name != "ce_id");
    let bus = shop.home().bus().await?;
    let sent = vec![garbage.clone(), nameless, wrong_sum.clone()];
    publish(&shop, bus.as_ref(), sent).await?;
    shop.start().await?;
    let letters = DeadLetters::new(bus);
    let expected = |group| if group == ORDERS_GROUP { 3 } else { 2 };
    for &group in CHECKOUTS.groups {
        let found = wait_for("the messages are parked", async || {
            Ok(Some(parked(&letters, group).await?).filter(|found| found.len() >= expected(group)))
        })
        .await?;
        let reason = |header: Option<&str>| {
            let letter = found.iter().find(|letter| letter.message.header("ce_id") == header);
            letter.map(|letter| letter.reason.clone()).unwrap_or_default()
        };
        assert!(
            reason(garbage.header("ce_id")).contains(CheckoutCompleted::NAME),
            "{group}: {found:?}"
        );
        assert_eq!(reason(None), "header ce_id is missing", "{group}");
        if group == ORDERS_GROUP {
            assert!(
                reason(wrong_sum.header("ce_id")).contains("does not agree"),
                "{found:?}"
            );
        }
    }
    let after = shop.buyer("after")?;
    let bought = after.buy_one(2, 1, "key", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    assert_eq!(after.read("/api/v1/orders").await?[0]["id"], bought["order_id"]);
    assert_eq!(after.read("/api/v1/cart").await?["items"], json!([]));
    for &group in CHECKOUTS.groups {
        assert_eq!(parked(&letters, group).await?.len(), expected(group), "{group}");
    }
    assert_eq!(shop.buyer("nobody")?.read("/api/v1/orders").await?, json!([]));
    Ok(())
}

async fn an_invalid_event_is_parked_again_after_a_redrive(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    shop.wait_until_idle().await?;
    let bus = shop.home().bus().await?;
    wait_for("the groups have joined", async || {
        Ok(publish(&shop, bus.as_ref(), vec![message(&shop, "{garbage")])
            .await
            .ok())
    })
    .await?;
    let letters = DeadLetters::new(bus);
    let letter = wait_for("it is parked by all", async || {
        for &group in CHECKOUTS.groups {
            if parked(&letters, group).await?.is_empty() {
                return Ok(None);
            }
        }
        Ok(parked(&letters, NOTIFICATION_GROUP).await?.pop())
    })
    .await?;
    letters.redrive(CHECKOUTS.name, &letter).await?;
    let again = wait_for("it is parked again", async || {
        Ok(parked(&letters, NOTIFICATION_GROUP)
            .await?
            .pop()
            .filter(|again| again.origin != letter.origin))
    })
    .await?;
    assert_eq!(
        (&again.id, &again.reason, &again.message.value),
        (&letter.id, &letter.reason, &letter.message.value)
    );
    for &group in CHECKOUTS.groups {
        assert_eq!(parked(&letters, group).await?.len(), 1, "{group}");
    }
    Ok(())
}

/// Statements that make every insert of an order violate a constraint, and that undo this.
const fn breaking_statements(profile: Profile) -> (&'static str, &'static str) {
    match profile {
        Profile::Embedded => (
            "CREATE TABLE closed (never INTEGER CHECK (never = 1));
             CREATE TRIGGER closed BEFORE INSERT ON orders BEGIN INSERT INTO closed VALUES (0); END",
            "DROP TRIGGER closed; DROP TABLE closed",
        ),
        Profile::Engines => (
            "ALTER TABLE orders ADD CONSTRAINT closed CHECK (false) NOT VALID",
            "ALTER TABLE orders DROP CONSTRAINT closed",
        ),
    }
}

async fn a_redriven_event_is_applied_once_by_the_group_that_parked_it(profile: Profile) -> Result<()> {
    let mut shop = Shop::open(profile).await?;
    shop.stop().await;
    shop.home().execute("orders", breaking_statements(profile).0).await?;
    shop.start().await?;
    let ada = shop.buyer("ada")?;
    ada.add(3, 5).await?;
    let bought = ada.buy("key", "pm_card_ok").await?;
    assert_eq!(bought["status"], "COMPLETED");
    let letters = DeadLetters::new(shop.home().bus().await?);
    let letter = wait_for("the order is parked", async || {
        Ok(parked(&letters, ORDERS_GROUP).await?.pop())
    })
    .await?;
    assert!(letter.reason.to_lowercase().contains("check constraint"), "{letter:?}");
    let path = format!("/api/v1/orders/{}", bought["order_id"].as_str().context("no order_id")?);
    assert_eq!(ada.get(&path).await?.status, StatusCode::NOT_FOUND);
    shop.wait_until_idle().await?;

    shop.stop().await;
    shop.home().execute("orders", breaking_statements(profile).1).await?;
    shop.start().await?;
    let ada = shop.buyer("ada")?;
    ada.add(3, 2).await?;
    let before = effects(&shop).await?;
    letters.redrive(CHECKOUTS.name, &letter).await?;
    until("the order is there", async || {
        Ok(ada.get(&path).await?.status == StatusCode::OK)
    })
    .await?;
    shop.wait_until_idle().await?;
    assert_eq!(parked(&letters, ORDERS_GROUP).await?, []);
    let orders: Vec<(String,)> = shop.rows("orders", "SELECT checkout_id FROM orders").await?;
    assert_eq!(
        orders,
        [(bought["checkout_id"].as_str().unwrap_or_default().to_owned(),)]
    );
    let mut after = effects(&shop).await?;
    after.retain(|table, _| !table.starts_with("orders."));
    assert!(
        after.iter().all(|(table, rows)| before.get(table) == Some(rows)),
        "{before:#?}\n{after:#?}"
    );
    assert_eq!(ada.read("/api/v1/cart").await?["items"][0]["quantity"], 2);
    shop.balance().await
}

async fn an_event_of_a_later_version_is_parked_by_the_groups_that_know_its_name(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let later = |kind: &str| message(&shop, "{}").with_header("ce_type", kind);
    let completed = later("cartwright.checkout.completed.v2");
    let failed = later("cartwright.checkout.failed.v2");
    let sent = vec![
        completed.clone(),
        failed.clone(),
        later("cartwright.checkout.weighed.v2"),
    ];
    let bus = shop.home().bus().await?;
    publish(&shop, bus.as_ref(), sent).await?;
    shop.wait_until_idle().await?;
    let letters = DeadLetters::new(bus);
    for &group in CHECKOUTS.groups {
        let expected = if group == NOTIFICATION_GROUP {
            vec![&completed, &failed]
        } else {
            vec![&completed]
        };
        let found = parked(&letters, group).await?;
        assert_eq!(found.len(), expected.len(), "{group}: {found:?}");
        for sent in expected {
            let letter = found
                .iter()
                .find(|letter| letter.message.value == sent.value && Some(letter.id.as_str()) == sent.header("ce_id"));
            let reason = &letter.with_context(|| format!("{group}: {found:?}"))?.reason;
            let kind = sent.header("ce_type").unwrap_or_default();
            assert!(
                reason.contains(kind) && reason.contains(&kind.replace("v2", "v1")),
                "{reason}"
            );
        }
    }
    Ok(())
}

async fn report(shop: &Shop) -> Result<Value> {
    let (gateway, token) = (shop.admin()?, None);
    Ok(Customer { gateway, token }.get("/health/ready").await?.json())
}

/// The states of the process and of its bus in readiness.
async fn readiness(shop: &Shop) -> Result<(Value, Value)> {
    let report = report(shop).await?;
    Ok((report["status"].clone(), report["dependencies"]["event-bus"].clone()))
}

/// The state of each consumer group in readiness.
async fn groups(shop: &Shop) -> Result<Vec<Value>> {
    let report = report(shop).await?;
    let of = |group| report["dependencies"][format!("group {group}")].clone();
    Ok(CHECKOUTS.groups.iter().copied().map(of).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_row_of_the_embedded_bus_is_parked_and_later_events_are_applied() -> Result<()> {
    let mut shop = Shop::open(Profile::Embedded).await?;
    shop.buyer("before")?.buy_one(1, 1, "key", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    shop.stop().await;
    // One unreadable row in each partition, before later events.
    let damage = "INSERT INTO messages (topic, partition, \"offset\", key, headers, value)
        SELECT topic, partition, next_offset, 'k', 'not json', x'7b' FROM partitions WHERE topic = 'checkout-outbox';
        UPDATE partitions SET next_offset = next_offset + 1 WHERE topic = 'checkout-outbox'";
    shop.home().execute("bus", damage).await?;
    shop.start().await?;
    let after = shop.buyer("after")?;
    let bought = after.buy_one(2, 1, "key", "pm_card_ok").await?;
    until("the order is there", async || {
        let orders = after.read("/api/v1/orders").await?;
        Ok(orders[0]["id"] == bought["order_id"])
    })
    .await?;
    shop.wait_until_idle().await?;
    assert_eq!(readiness(&shop).await?, (json!("ok"), json!("up")));
    let letters = DeadLetters::new(shop.home().bus().await?);
    for &group in CHECKOUTS.groups {
        let found = parked(&letters, group).await?;
        assert_eq!(found.len(), 3, "{group}: {found:?}");
        for letter in found {
            assert!(letter.reason.starts_with("its headers cannot be read"), "{letter:?}");
            assert_eq!(letter.message.value, "{");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_is_not_ok_while_groups_cannot_read_the_embedded_bus() -> Result<()> {
    let shop = Shop::open(Profile::Embedded).await?;
    assert_eq!(readiness(&shop).await?, (json!("ok"), json!("up")));
    for (change, status, bus) in [
        ("ALTER TABLE messages RENAME TO hidden", "degraded", "down"),
        ("ALTER TABLE hidden RENAME TO messages", "ok", "up"),
    ] {
        shop.home().execute("bus", change).await?;
        until(change, async || {
            let is_said = readiness(&shop).await? == (json!(status), json!(bus));
            Ok(is_said && groups(&shop).await?.iter().all(|group| group == bus))
        })
        .await?;
    }
    Ok(())
}
