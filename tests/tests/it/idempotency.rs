//! A key makes one purchase, however often and however fast a client repeats it.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use http::{StatusCode, header};
use runtime::config::Span;
use serde_json::{Value, json};
use system_tests::{
    home::Profile,
    shops::{Buyer, Shop, until, wait_for},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

on_every_profile! {
    fifty_requests_with_one_key_are_one_purchase,
    two_customers_may_use_the_same_key,
    a_used_key_is_refused_for_another_request,
    a_declined_purchase_is_replayed_unchanged,
    an_empty_cart_leaves_the_key_free,
    a_changed_price_is_shown_leaves_the_key_free_and_may_be_accepted,
    a_customer_who_disconnects_buys_once_and_can_ask_again,
    a_purchase_ends_even_if_its_customer_never_asks_again,
    a_slow_purchase_is_accepted_and_shown_at_its_end,
}

const REPLAYED: &str = "idempotent-replayed";

async fn checkouts(shop: &Shop) -> Result<i64> {
    let found: Vec<(i64,)> = shop.rows("checkout", "SELECT count(*) FROM checkouts").await?;
    Ok(found[0].0)
}

async fn fifty_requests_with_one_key_are_one_purchase(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(1, 1).await?;
    let replies = try_join_all((0..50).map(|_| ada.checkout("once", "pm_card_ok"))).await?;
    for reply in &replies {
        assert_eq!((reply.status, &reply.body), (StatusCode::CREATED, &replies[0].body));
        assert_eq!(reply.headers[header::LOCATION], replies[0].headers[header::LOCATION]);
    }
    assert_eq!(replies[0].json()["status"], "COMPLETED");
    let first = replies
        .iter()
        .filter(|reply| !reply.headers.contains_key(REPLAYED))
        .count();
    assert_eq!((first, checkouts(&shop).await?), (1, 1));
    shop.wait_until_idle().await?;
    let later = ada.checkout("once", "pm_card_ok").await?;
    assert_eq!(
        (later.headers[REPLAYED].to_str()?, &later.body),
        ("true", &replies[0].body)
    );
    assert_eq!(shop.stock(1).await?, (99, 0));
    shop.balance().await
}

async fn two_customers_may_use_the_same_key(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let (ada, bob) = (shop.buyer("ada")?, shop.buyer("bob")?);
    let (first, second) = tokio::try_join!(
        ada.buy_one(2, 1, "key", "pm_card_ok"),
        bob.buy_one(3, 2, "key", "pm_card_ok")
    )?;
    assert_ne!(first["checkout_id"], second["checkout_id"]);
    assert_eq!(
        (&first["status"], &second["status"]),
        (&json!("COMPLETED"), &json!("COMPLETED"))
    );
    assert_eq!(
        (&first["items"][0]["product_id"], &second["items"][0]["product_id"]),
        (&json!(2), &json!(3))
    );
    shop.balance().await
}

async fn a_used_key_is_refused_for_another_request(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    let bought = ada.buy_one(2, 1, "key", "pm_card_ok").await?;
    for other in [
        json!({"idempotency_key": "key", "payment_method": "pm_card_declined"}),
        json!({"idempotency_key": "key", "payment_method": "pm_card_ok", "accept_price_changes": true}),
    ] {
        let reply = ada.post("/api/v1/checkout", &other).await?;
        let refused = (reply.status, reply.json()["reason"].clone());
        assert_eq!(
            refused,
            (StatusCode::UNPROCESSABLE_ENTITY, json!("IDEMPOTENCY_KEY_REUSED"))
        );
    }
    // With the default method written out, or the key in the header, the request is the same.
    let request = ada
        .request(http::Method::POST, "/api/v1/checkout")
        .header("idempotency-key", "key");
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let same = ada
        .send(request.body(r#"{"idempotency_key":"not this one"}"#.into())?)
        .await?;
    assert_eq!((same.headers[REPLAYED].to_str()?, same.json()), ("true", bought));
    assert_eq!(checkouts(&shop).await?, 1);
    shop.balance().await
}

async fn a_declined_purchase_is_replayed_unchanged(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(2, 1).await?;
    let refused = ada.checkout("key", "pm_card_expired").await?;
    assert_eq!(refused.json()["failure"]["reason"], "CARD_EXPIRED");
    ada.add(2, 1).await?;
    let again = ada.checkout("key", "pm_card_expired").await?;
    assert_eq!((again.status, &again.body), (StatusCode::CREATED, &refused.body));
    assert_eq!(again.headers[REPLAYED], "true");
    assert_eq!(checkouts(&shop).await?, 1);
    shop.balance().await
}

async fn an_empty_cart_leaves_the_key_free(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    let refused = ada.checkout("key", "pm_card_ok").await?;
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (StatusCode::BAD_REQUEST, &json!("CART_EMPTY"))
    );
    let bought = ada.buy_one(2, 1, "key", "pm_card_ok").await?;
    assert_eq!(bought["status"], "COMPLETED");
    shop.balance().await
}

async fn a_changed_price_is_shown_leaves_the_key_free_and_may_be_accepted(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(2, 2).await?;
    ada.add(3, 1).await?;
    shop.upsert_product(2, "Mouse", 3_510).await?;
    let refused = ada.checkout("key", "pm_card_ok").await?;
    let problem = refused.json();
    assert_eq!(
        (refused.status, &problem["reason"]),
        (StatusCode::CONFLICT, &json!("PRICE_CHANGED")),
        "{problem}"
    );
    let text = String::from_utf8_lossy(&refused.body);
    assert!(
        text.contains(r#""new_price":35.10"#) && text.contains(r#""old_price":29.99"#),
        "{text}"
    );
    assert_eq!(problem["changes"].as_array().map(Vec::len), Some(1));
    assert_eq!((checkouts(&shop).await?, shop.stock(2).await?), (0, (500, 0)));

    let accept = json!({"idempotency_key": "key", "accept_price_changes": true, "expected_total": 160.19});
    let reply = ada.post("/api/v1/checkout", &accept).await?;
    let bought = reply.json();
    assert_eq!(
        (reply.status, &bought["status"]),
        (StatusCode::CREATED, &json!("COMPLETED")),
        "{bought}"
    );
    assert!(
        String::from_utf8_lossy(&reply.body).contains(r#""total_amount":160.19"#),
        "{bought}"
    );
    assert!(!reply.headers.contains_key(REPLAYED));
    shop.balance().await
}

/// When a customer closes the connection without reading the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disconnect {
    /// After a part of the body.
    Halfway,
    /// This long after the whole request.
    After(Duration),
    /// When the saga is stored.
    OnceBegun,
}

async fn send_and_disconnect(shop: &Shop, buyer: &Buyer, key: &str, when: Disconnect) -> Result<()> {
    let body = json!({"idempotency_key": key, "payment_method": "pm_card_ok"}).to_string();
    let head = format!(
        "POST /api/v1/checkout HTTP/1.1\r\nhost: shop\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        buyer.authorization(),
        body.len()
    );
    let mut stream = TcpStream::connect(buyer.gateway()).await?;
    stream.set_nodelay(true)?;
    stream.write_all(head.as_bytes()).await?;
    let (first, second) = body.as_bytes().split_at(body.len() / 2);
    stream.write_all(first).await?;
    if when != Disconnect::Halfway {
        stream.write_all(second).await?;
    }
    match when {
        Disconnect::Halfway => {}
        Disconnect::After(pause) => tokio::time::sleep(pause).await,
        Disconnect::OnceBegun => {
            let begun = format!("SELECT count(*) FROM checkouts WHERE user_id = '{}'", buyer.name);
            until("the purchase has begun", async || {
                let found: Vec<(i64,)> = shop.rows("checkout", begun.clone()).await?;
                Ok(found[0].0 > 0)
            })
            .await?;
        }
    }
    drop(stream);
    Ok(())
}

async fn a_customer_who_disconnects_buys_once_and_can_ask_again(profile: Profile) -> Result<()> {
    let latency = Span(Duration::from_millis(60));
    let shop = Shop::with_settings(profile, |settings| {
        settings.payment_min_latency = latency;
        settings.payment_max_latency = latency;
    })
    .await?;
    let pauses = [0, 1, 2, 5, 10, 20, 50, 80].map(|ms| Disconnect::After(Duration::from_millis(ms)));
    let moments: Vec<_> = pauses
        .into_iter()
        .chain([Disconnect::Halfway, Disconnect::OnceBegun])
        .collect();
    for round in 0..8 {
        let customers = moments.iter().zip(0..).map(async |(when, n)| {
            let buyer = shop.buyer(&format!("impatient-{round}-{n}"))?;
            buyer.add(2, 1).await?;
            send_and_disconnect(&shop, &buyer, "key", *when).await?;
            let answer = buyer.checkout("key", "pm_card_ok").await?;
            assert_eq!(answer.json()["status"], "COMPLETED", "{when:?}: {answer:?}");
            if *when == Disconnect::OnceBegun {
                assert!(answer.headers.contains_key(REPLAYED), "{answer:?}");
            }
            anyhow::Ok(())
        });
        try_join_all(customers).await?;
    }
    shop.wait_until_idle().await?;
    let charges = "SELECT count(*) FROM charges WHERE outcome = 'SUCCEEDED'";
    let charges: Vec<(i64,)> = shop.rows("provider", charges).await?;
    assert_eq!((checkouts(&shop).await?, charges[0].0), (80, 80));
    assert_eq!(shop.stock(2).await?, (420, 0));
    shop.balance().await
}

async fn a_purchase_ends_even_if_its_customer_never_asks_again(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(2, 1).await?;
    send_and_disconnect(&shop, &ada, "key", Disconnect::OnceBegun).await?;
    let order: Value = wait_for("the order is there", async || {
        Ok(ada
            .read("/api/v1/orders")
            .await?
            .as_array()
            .and_then(|orders| orders.first().cloned()))
    })
    .await?;
    assert_eq!(order["items"][0]["product_id"], 2);
    shop.balance().await
}

async fn a_slow_purchase_is_accepted_and_shown_at_its_end(profile: Profile) -> Result<()> {
    let latency = Span(Duration::from_millis(900));
    let shop = Shop::with_settings(profile, |settings| {
        settings.checkout_timeout = Span(Duration::from_millis(150));
        settings.payment_min_latency = latency;
        settings.payment_max_latency = latency;
    })
    .await?;
    let ada = shop.buyer("ada")?;
    ada.add(2, 1).await?;
    let accepted = ada.checkout("key", "pm_card_ok").await?;
    let running = accepted.json();
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{running}");
    let open = ["INITIATED", "INVENTORY_RESERVED", "PAYMENT_PENDING"];
    assert!(open.iter().any(|open| running["status"] == *open), "{running}");
    let path = format!("/api/v1/checkout/{}", running["checkout_id"].as_str().context("no id")?);
    assert_eq!(accepted.headers[header::LOCATION], path);
    assert_eq!(accepted.headers[header::RETRY_AFTER], "1");
    let again = ada.checkout("key", "pm_card_ok").await?;
    assert_eq!(
        (again.status, again.headers[REPLAYED].to_str()?),
        (StatusCode::ACCEPTED, "true")
    );

    let ended = wait_for("the purchase has ended", async || {
        let shown = ada.read(&path).await?;
        Ok((shown["status"] == "COMPLETED").then_some(shown))
    })
    .await?;
    let last = ada.checkout("key", "pm_card_ok").await?;
    assert_eq!(
        (last.status, &last.json()["order_id"]),
        (StatusCode::CREATED, &ended["order_id"])
    );
    shop.balance().await
}
