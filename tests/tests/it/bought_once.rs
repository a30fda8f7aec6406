//! A piece in a cart is bought once, however many keys, tabs and clicks ask for it, and no added piece is lost.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use http::{StatusCode, header};
use runtime::config::Span;
use serde_json::{Value, json};
use system_tests::{
    home::Profile,
    shops::{Buyer, Shop, until},
};

on_every_profile! {
    repeated_checkouts_charge_each_piece_once,
    held_items_are_shown_and_items_added_later_can_be_bought,
    items_of_a_declined_checkout_return_beside_items_added_later,
    a_customer_pays_only_what_they_were_shown,
}

/// Rounds of each [`Repetition`].
const ROUNDS: usize = 30;
const MICE: i64 = 2;

/// How a customer checks out one cart more than once.
#[derive(Debug, Clone, Copy)]
enum Repetition {
    SequentialKeys,
    ConcurrentKeys(usize),
    /// The customer reloads the page, and so has a new key, before the purchase has ended.
    Reload,
    /// The customer adds a piece, buys, adds a piece, buys.
    AddAndBuyAgain,
}

/// Checks out repeatedly; returns how many pieces were added to the cart.
async fn check_out_repeatedly(buyer: &Buyer, repetition: Repetition) -> Result<i64> {
    buyer.add(MICE, 1).await?;
    let answers = match repetition {
        Repetition::SequentialKeys => {
            let first = buyer.checkout("k1", "pm_card_ok").await?;
            vec![first, buyer.checkout("k2", "pm_card_ok").await?]
        }
        Repetition::ConcurrentKeys(keys) => {
            let keys: Vec<_> = (0..keys).map(|key| format!("k{key}")).collect();
            let asked = keys.iter().map(|key| buyer.checkout(key, "pm_card_ok"));
            try_join_all(asked).await?
        }
        Repetition::Reload => {
            let first = buyer.checkout("k1", "pm_card_slow").await?;
            ensure!(first.status == StatusCode::ACCEPTED, "{first:?}");
            let second = buyer.checkout("k2", "pm_card_ok").await?;
            ensure!(second.status == StatusCode::CONFLICT, "{second:?}");
            buyer.buy("k1", "pm_card_slow").await?;
            return Ok(1);
        }
        Repetition::AddAndBuyAgain => {
            let first = buyer.buy("k1", "pm_card_ok").await?;
            buyer.add(MICE, 1).await?;
            for answer in [first, buyer.buy("k2", "pm_card_ok").await?] {
                ensure!(answer["status"] == "COMPLETED", "{answer}");
                ensure!(answer["items"][0]["quantity"] == 1, "{answer}");
            }
            return Ok(2);
        }
    };
    let mut bought = 0;
    for answer in &answers {
        let body = answer.json();
        match answer.status {
            StatusCode::CREATED if body["status"] == "COMPLETED" => bought += 1,
            StatusCode::CREATED => ensure!(body["failure"]["reason"] == "CART_CHANGED", "{body}"),
            // The saga still runs.
            StatusCode::ACCEPTED => {}
            StatusCode::BAD_REQUEST => ensure!(body["reason"] == "CART_EMPTY", "{body}"),
            StatusCode::CONFLICT => {
                ensure!(body["reason"] == "CHECKOUT_IN_PROGRESS", "{body}");
                let checkout = body["checkout_id"].as_str().context("no checkout")?;
                let place = format!("/api/v1/checkout/{checkout}");
                ensure!(answer.headers[header::LOCATION] == place, "{answer:?}");
            }
            _ => anyhow::bail!("{answer:?}"),
        }
    }
    ensure!(bought <= 1, "{bought} purchases of one piece: {answers:?}");
    Ok(1)
}

async fn repeated_checkouts_charge_each_piece_once(profile: Profile) -> Result<()> {
    let shop = Shop::with_settings(profile, |settings| {
        settings.checkout_timeout = Span(Duration::from_secs(1));
    })
    .await?;
    let repetitions = [
        Repetition::SequentialKeys,
        Repetition::ConcurrentKeys(2),
        Repetition::ConcurrentKeys(8),
        Repetition::AddAndBuyAgain,
        Repetition::Reload,
    ];
    let mut added = BTreeMap::new();
    for (n, repetition) in repetitions.into_iter().enumerate() {
        let rounds = (0..ROUNDS).map(|round| {
            let shop = &shop;
            async move {
                let name = format!("impatient-{n}-{round}");
                let pieces = check_out_repeatedly(&shop.buyer(&name)?, repetition).await;
                anyhow::Ok((name, pieces.with_context(|| format!("{repetition:?}"))?))
            }
        });
        added.extend(try_join_all(rounds).await?);
    }
    shop.wait_until_idle().await?;
    let ordered = "SELECT o.user_id, sum(l.quantity) FROM orders o JOIN order_lines l ON l.order_id = o.id GROUP BY 1";
    let ordered: Vec<(String, i64)> = shop.rows("orders", ordered).await?;
    let mut missing: Vec<_> = added.iter().collect();
    missing.retain(|(name, pieces)| !ordered.contains(&((*name).clone(), **pieces)));
    ensure!(missing.is_empty(), "{missing:?} of {ordered:?}");
    for name in added.keys() {
        let cart = shop.buyer(name)?.read("/api/v1/cart").await?;
        ensure!(cart["items"] == json!([]) && cart["in_checkout"] == json!([]), "{cart}");
    }
    let sold: i64 = added.values().sum();
    assert_eq!(shop.stock(MICE).await?, (500 - sold, 0));
    shop.balance().await
}

/// The products and quantities of items.
fn lines(items: &Value) -> Value {
    let items = items.as_array().into_iter().flatten();
    items
        .map(|item| json!([item["product_id"], item["quantity"]]))
        .collect()
}

async fn held_items_are_shown_and_items_added_later_can_be_bought(profile: Profile) -> Result<()> {
    let shop = Shop::with_settings(profile, |settings| {
        settings.checkout_timeout = Span(Duration::from_secs(1));
    })
    .await?;
    let ada = shop.buyer("ada")?;
    ada.add(1, 2).await?;
    let waiting = ada.checkout("slow", "pm_card_slow").await?;
    assert_eq!(waiting.status, StatusCode::ACCEPTED, "{waiting:?}");
    let id = waiting.json()["checkout_id"].clone();
    let cart = ada.read("/api/v1/cart").await?;
    assert_eq!(
        (&cart["items"], &cart["total_price"], &cart["total_items"]),
        (&json!([]), &json!(0.0), &json!(0))
    );
    let held = &cart["in_checkout"];
    assert_eq!(
        (&held[0]["checkout_id"], lines(&held[0]["items"])),
        (&id, json!([[1, 2]])),
        "{cart}"
    );
    assert_eq!(held[0]["items"][0]["subtotal"], 2599.98, "{cart}");

    let second = ada.checkout("second", "pm_card_ok").await?;
    let problem = second.json();
    assert_eq!(
        (second.status, &problem["reason"], &problem["checkout_id"]),
        (StatusCode::CONFLICT, &json!("CHECKOUT_IN_PROGRESS"), &id),
        "{problem}"
    );

    ada.add(2, 1).await?;
    let meanwhile = ada.checkout("second", "pm_card_ok").await?.json();
    assert_eq!(
        (&meanwhile["status"], lines(&meanwhile["items"])),
        (&json!("COMPLETED"), json!([[2, 1]]))
    );
    // Clearing the cart does not touch held items.
    assert_eq!(
        ada.call(http::Method::DELETE, "/api/v1/cart", None).await?.status,
        StatusCode::OK
    );
    let bought = ada.buy("slow", "pm_card_slow").await?;
    assert_eq!(
        (&bought["status"], lines(&bought["items"])),
        (&json!("COMPLETED"), json!([[1, 2]]))
    );
    shop.wait_until_idle().await?;
    assert_eq!(ada.read("/api/v1/cart").await?["in_checkout"], json!([]));
    assert_eq!(shop.stock(1).await?, (98, 0));
    shop.balance().await
}

async fn items_of_a_declined_checkout_return_beside_items_added_later(profile: Profile) -> Result<()> {
    let shop = Shop::with_settings(profile, |settings| {
        let slow = Span(Duration::from_secs(2));
        (settings.payment_min_latency, settings.payment_max_latency) = (slow, slow);
        settings.checkout_timeout = Span(Duration::from_millis(500));
    })
    .await?;
    // `many` has 99 pieces held and adds 99 more of the product; `wide` has 50 products held and adds 50 others.
    let products: Vec<i64> = (1_001..=1_100).collect();
    for product in &products {
        shop.upsert_product(*product, &format!("Thing {product}"), 100).await?;
        shop.add_stock(*product, 10).await?;
    }
    let (many, wide) = (shop.buyer("many")?, shop.buyer("wide")?);
    many.add(2, 99).await?;
    join_all(products[..50].iter().map(|product| wide.add(*product, 1))).await;
    for buyer in [&many, &wide] {
        let waiting = buyer.checkout("declined", "pm_card_declined").await?;
        ensure!(waiting.status == StatusCode::ACCEPTED, "{waiting:?}");
        until("the pieces are held", async || {
            let cart = buyer.read("/api/v1/cart").await?;
            Ok(cart["items"] == json!([]))
        })
        .await?;
    }
    many.add(2, 99).await?;
    join_all(products[50..].iter().map(|product| wide.add(*product, 1))).await;
    for buyer in [&many, &wide] {
        let refused = buyer.buy("declined", "pm_card_declined").await?;
        ensure!(refused["failure"]["reason"] == "CARD_DECLINED", "{refused}");
    }
    let cart = many.read("/api/v1/cart").await?;
    assert_eq!(
        (lines(&cart["items"]), &cart["in_checkout"]),
        (json!([[2, 198]]), &json!([]))
    );
    let one_more = many
        .post("/api/v1/cart/items", &json!({"product_id": 2, "quantity": 1}))
        .await?;
    assert_eq!(one_more.json()["reason"], "INVALID_QUANTITY");
    let down = many
        .call(
            http::Method::PUT,
            "/api/v1/cart/items/2",
            Some(&json!({"quantity": 99})),
        )
        .await?;
    assert_eq!(lines(&down.json()["items"]), json!([[2, 99]]));

    let cart = wide.read("/api/v1/cart").await?;
    assert_eq!((&cart["total_items"], &cart["in_checkout"]), (&json!(100), &json!([])));
    let one_more = wide
        .post("/api/v1/cart/items", &json!({"product_id": 2, "quantity": 1}))
        .await?;
    assert_eq!(one_more.json()["reason"], "CART_FULL");
    assert_eq!(
        wide.buy("paid", "pm_card_ok").await?["status"],
        "COMPLETED",
        "a hundred lines are bought"
    );
    shop.balance().await
}

async fn a_customer_pays_only_what_they_were_shown(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let price = async |minor_units| shop.upsert_product(1_001, "Thing", minor_units).await;
    price(1_000).await?;
    shop.add_stock(1_001, 10).await?;
    let ada = shop.buyer("ada")?;
    ada.add(1_001, 1).await?;
    let buy = async |body: Value| {
        let reply = ada.post("/api/v1/checkout", &body).await?;
        anyhow::Ok((reply.status, reply.json()))
    };
    price(1_500).await?;
    let (status, problem) = buy(json!({"idempotency_key": "k"})).await?;
    assert_eq!(
        (status, &problem["total"]),
        (StatusCode::CONFLICT, &json!(15.0)),
        "{problem}"
    );
    price(99_900).await?;
    let agreed = json!({"idempotency_key": "k", "accept_price_changes": true, "expected_total": 15.0});
    let (status, problem) = buy(agreed.clone()).await?;
    assert_eq!(
        (status, &problem["reason"], &problem["total"]),
        (StatusCode::CONFLICT, &json!("PRICE_CHANGED"), &json!(999.0)),
        "{problem}"
    );
    let (status, problem) = buy(json!({"idempotency_key": "k", "accept_price_changes": true})).await?;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (StatusCode::BAD_REQUEST, &json!("expected_total"))
    );
    price(1_500).await?;

    // Another tab adds a line.
    let shown = ada.get("/api/v1/cart").await?.headers[header::ETAG].clone();
    ada.add(2, 1).await?;
    let (status, problem) = buy(agreed.clone()).await?;
    assert_eq!(
        (status, &problem["total"]),
        (StatusCode::CONFLICT, &json!(44.99)),
        "{problem}"
    );
    let request = ada
        .request(http::Method::POST, "/api/v1/checkout")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::IF_MATCH, shown);
    let other_version = ada.send(request.body(agreed.to_string().into())?).await?;
    assert_eq!(
        other_version.status,
        StatusCode::PRECONDITION_FAILED,
        "{other_version:?}"
    );
    ensure!(
        ada.call(http::Method::DELETE, "/api/v1/cart/items/2", None)
            .await?
            .status
            .is_success()
    );
    let (status, bought) = buy(agreed.clone()).await?;
    assert_eq!(
        (status, &bought["total_amount"]),
        (StatusCode::CREATED, &json!(15.0)),
        "{bought}"
    );
    let (_, again) = buy(agreed).await?;
    assert_eq!(again, bought, "a known key is replayed, whatever the cart is now");
    shop.balance().await
}
