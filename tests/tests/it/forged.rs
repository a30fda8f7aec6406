//! A writer to the event bus without the signing key can buy nothing.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use events::{DeadLetters, Event, Message, Parked, Signatures, SigningKey};
use proto::events::{CHECKOUTS, CheckoutCompleted, ORDERS_GROUP};
use runtime::{Ids, RequestContext};
use serde_json::{Value, json};
use system_tests::{
    books,
    home::{Home, Profile},
    process::ShopProcess,
    shops::{Dump, Shop, until, wait_for},
};
use uuid::Uuid;

use crate::BINARY;

/// The signing key of the shops on Kafka; embedded shops generate theirs.
const KEY: &str = "a key of events, of more than 32 bytes";

on_every_profile! {
    a_forged_event_is_parked_and_the_next_purchase_becomes_an_order,
    a_copied_event_changes_nothing,
    control_characters_in_events_reach_no_terminal,
}

async fn open(profile: Profile) -> Result<Shop> {
    let tweak = |settings: &mut cartwright::settings::Settings| {
        if profile == Profile::Engines {
            settings.signing.event_signing_key = Some(KEY.to_owned());
        }
    };
    Shop::with_settings(profile, tweak).await
}

/// An unsigned event: fifty laptops for 0.50.
fn unsigned_order(user: &str) -> Message {
    let (checkout, order) = (Uuid::from_u128(71), Uuid::from_u128(72));
    let ids = Ids::random();
    let data = json!({
        "checkout_id": checkout, "order_id": order, "user_id": user, "currency": "USD", "total_amount": 0.50,
        "items": [{"product_id": 1, "product_name": "Laptop", "quantity": 50, "unit_price": 0.01, "subtotal": 0.50}],
        "payment_id": "p", "cart_version": 1, "completed_at": "2026-01-01T00:00:00Z",
    });
    let event = Event {
        id: ids.next(),
        kind: CheckoutCompleted::KIND.to_owned(),
        name: CheckoutCompleted::NAME.to_owned(),
        source: "/checkout".to_owned(),
        time: "2026-01-01T00:00:00Z".parse().unwrap_or_default(),
        key: checkout.to_string(),
        context: RequestContext::new(&ids),
        data: data.to_string().into(),
    };
    event.to_message()
}

/// Waits until a group has parked at least `count` events.
async fn parked(letters: &DeadLetters, group: &str, count: usize) -> Result<Vec<Parked>> {
    wait_for("the messages are parked", async || {
        let found = letters.list(CHECKOUTS.name, group).await?;
        Ok((found.len() >= count).then_some(found))
    })
    .await
}

async fn orders(shop: &Shop, user: &str) -> Result<Value> {
    shop.buyer(user)?.read("/api/v1/orders").await
}

/// The rows of the stores of consumers.
async fn effects(shop: &Shop) -> Result<Dump> {
    let mut all = shop.dump().await?;
    let consumers = ["cart.", "orders.", "notification."];
    all.retain(|table, _| consumers.iter().any(|store| table.starts_with(store)));
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_end_after_the_event_signing_key_is_ignored() -> Result<()> {
    let with_end = |settings: &mut cartwright::settings::Settings| {
        settings.signing.event_signing_key = Some(format!("{KEY}\r\n"));
    };
    let shop = Shop::with_settings(Profile::Embedded, with_end).await?;
    let signatures = Signatures::new("", SigningKey::new(KEY.as_bytes())?, Vec::new());
    let signed = signatures.sign(CHECKOUTS.name, unsigned_order("ada"));
    shop.home().bus().await?.publish(CHECKOUTS.name, vec![signed]).await?;
    shop.wait_until_idle().await?;
    assert_eq!(orders(&shop, "ada").await?[0]["status"], "CONFIRMED");
    Ok(())
}

async fn a_forged_event_is_parked_and_the_next_purchase_becomes_an_order(profile: Profile) -> Result<()> {
    let shop = open(profile).await?;
    shop.wait_until_idle().await?;
    let bus = shop.home().bus().await?;
    bus.publish(CHECKOUTS.name, vec![unsigned_order("mallory")]).await?;
    let letters = DeadLetters::new(bus);
    for &group in CHECKOUTS.groups {
        let found = parked(&letters, group, 1).await?;
        assert!(found[0].reason.starts_with("it is not signed"), "{group}: {found:?}");
    }
    // A redrive by an operator does not apply the event, either.
    let first = parked(&letters, ORDERS_GROUP, 1).await?.remove(0);
    letters.redrive(CHECKOUTS.name, &first).await?;
    wait_for("it is parked again", async || {
        let again = letters.list(CHECKOUTS.name, ORDERS_GROUP).await?.pop();
        Ok(again.filter(|letter| letter.origin != first.origin))
    })
    .await?;
    assert_eq!(orders(&shop, "mallory").await?, json!([]));

    let ada = shop.buyer("ada")?;
    let bought = ada.buy_one(1, 1, "key", "pm_card_ok").await?;
    until("the order is there", async || {
        Ok(orders(&shop, "ada").await?[0]["id"] == bought["order_id"])
    })
    .await?;
    shop.wait_until_idle().await?;
    for &group in CHECKOUTS.groups {
        assert_eq!(parked(&letters, group, 1).await?.len(), 1, "{group}: nothing of hers");
    }
    let (only_hers, who) = ([("ada".to_owned(),)], "SELECT user_id FROM");
    let ordered: Vec<(String,)> = shop.rows("orders", format!("{who} orders")).await?;
    let notified: Vec<(String,)> = shop.rows("notification", format!("{who} notifications")).await?;
    assert_eq!((&ordered[..], &notified[..]), (&only_hers[..], &only_hers[..]));
    Ok(())
}

async fn a_copied_event_changes_nothing(profile: Profile) -> Result<()> {
    let shop = open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.buy_one(2, 1, "key", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    ada.add(2, 3).await?;
    let before = effects(&shop).await?;
    let bus = shop.home().bus().await?;
    let signed = bus.read_all(CHECKOUTS.name).await?.pop().context("no event")?.message;
    let copies = vec![
        signed.clone(),
        signed.clone(),
        Message {
            key: Uuid::from_u128(9).to_string(),
            ..signed.clone()
        },
        signed.clone().with_header("ce_id", Uuid::from_u128(10).to_string()),
        Message {
            value: unsigned_order("ada").value,
            ..signed
        },
    ];
    bus.publish(CHECKOUTS.name, copies).await?;
    let letters = DeadLetters::new(bus);
    for &group in CHECKOUTS.groups {
        // Two of the changed events have the id of the original, and are one dead letter.
        let found = parked(&letters, group, 2).await?;
        assert!(
            found
                .iter()
                .all(|letter| letter.reason.starts_with("its signature is wrong")),
            "{group}: {found:?}"
        );
    }
    shop.wait_until_idle().await?;
    assert_eq!(effects(&shop).await?, before);
    Ok(())
}

async fn control_characters_in_events_reach_no_terminal(profile: Profile) -> Result<()> {
    for format in ["text", "json"] {
        assert_no_control_characters(profile, format).await.context(format)?;
    }
    Ok(())
}

async fn assert_no_control_characters(profile: Profile, format: &str) -> Result<()> {
    let home = Home::new(profile).await?;
    let mut serve = home.command(BINARY);
    serve.env("LOG_FORMAT", format);
    let shop = ShopProcess::open(serve).await?;
    let hostile = "\u{1b}[2J\u{1b}]0;title\u{7}\r\nid         faked\u{9b}31m\u{202e}";
    let message = Message {
        key: hostile.to_owned(),
        headers: vec![
            ("ce_time".to_owned(), hostile.to_owned()),
            (hostile.to_owned(), hostile.to_owned()),
        ],
        value: hostile.into(),
    };
    home.bus().await?.publish(CHECKOUTS.name, vec![message]).await?;
    books::wait_until_idle(&home).await?;
    let dlq = async |arguments: &[&str]| {
        let mut command = home.command(BINARY);
        let output = command
            .arg("dlq")
            .args(arguments)
            .stdout(Stdio::piped())
            .output()
            .await?;
        ensure!(output.status.success(), "{output:?}");
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let listed = dlq(&["list"]).await?;
    let id = listed.split_whitespace().next().context("no id")?;
    let shown = dlq(&["show", id]).await?;
    let (_, logged) = shop.stop().await?;
    let line = logged.lines().find(|line| line.contains("parked an event"));
    let line = line.context(logged.clone())?;
    if format == "json" {
        let line: Value = serde_json::from_str(line)?;
        assert_eq!(line["key"], hostile, "it means the same");
    }
    for text in [&listed, &shown, &logged] {
        let obeyed = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
        assert_eq!(text.chars().find(obeyed), None, "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("id         faked")), "{text}");
    }
    assert!(shown.contains(r"\u{1b}[2J") && shown.contains(r"\r\nid"), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsigned_events_of_an_earlier_version_still_become_orders() -> Result<()> {
    let mut shop = open(Profile::Embedded).await?;
    shop.stop().await;
    // The folder of such a version that crashed between a purchase and its order.
    std::fs::remove_file(shop.data_dir().join("events.key"))?;
    shop.home()
        .bus()
        .await?
        .publish(CHECKOUTS.name, vec![unsigned_order("ada")])
        .await?;
    shop.start().await?;
    shop.wait_until_idle().await?;
    assert_eq!(orders(&shop, "ada").await?[0]["status"], "CONFIRMED");
    // From here on the shop has a key.
    shop.stop().await;
    shop.home()
        .bus()
        .await?
        .publish(CHECKOUTS.name, vec![unsigned_order("mallory")])
        .await?;
    shop.start().await?;
    shop.wait_until_idle().await?;
    assert_eq!(orders(&shop, "mallory").await?, json!([]));
    Ok(())
}

on_engines! {
    a_shop_on_kafka_without_an_event_signing_key_warns_once,
    a_purchase_becomes_an_order_under_every_codec_of_its_topic,
}

async fn a_shop_on_kafka_without_an_event_signing_key_warns_once() -> Result<()> {
    for (key, times) in [("", 1), (KEY, 0)] {
        let home = Home::new(Profile::Engines).await?;
        let mut serve = home.command(BINARY);
        serve.env("EVENT_SIGNING_KEY", key);
        let (_, stderr) = ShopProcess::open(serve).await?.stop().await?;
        assert_eq!(
            stderr.matches("EVENT_SIGNING_KEY is not set").count(),
            times,
            "{stderr}"
        );
        assert!(!stderr.contains(KEY));
    }
    Ok(())
}

async fn a_purchase_becomes_an_order_under_every_codec_of_its_topic() -> Result<()> {
    let shop = open(Profile::Engines).await?;
    let ada = shop.buyer("ada")?;
    for (n, codec) in ["gzip", "zstd", "snappy", "lz4"].into_iter().enumerate() {
        shop.home().compress_events(codec).await?;
        let bought = ada.buy_one(2, 1, codec, "pm_card_ok").await?;
        until("the order is there", async || {
            let orders = orders(&shop, "ada").await?;
            let orders = orders.as_array().context("no list")?.clone();
            Ok(orders.len() == n + 1 && orders.iter().any(|order| order["id"] == bought["order_id"]))
        })
        .await
        .context(codec)?;
    }
    shop.balance().await
}
