//! A piece in a cart is bought once, whatever number of keys, tabs and clicks ask for it, and nothing that is added is lost.

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

/// Rounds of each way to ask.
const ROUNDS: usize = 30;
const MICE: i64 = 2;

/// How somebody asks for the same cart more than once.
#[derive(Debug, Clone, Copy)]
enum Haste {
    OneKeyAfterTheOther,
    SoManyAtOnce(usize),
    /// The page is loaded again, with a new key, before the purchase has ended.
    AfterReloading,
    /// A piece, a purchase, a piece, a purchase.
    AddAndBuyAgain,
}

/// Asks, and returns how many pieces were ever put into the cart.
async fn ask(buyer: &Buyer, haste: Haste) -> Result<i64> {
    buyer.add(MICE, 1).await?;
    let answers = match haste {
        Haste::OneKeyAfterTheOther => {
            let first = buyer.checkout("k1", "pm_card_ok").await?;
            vec![first, buyer.checkout("k2", "pm_card_ok").await?]
        }
        Haste::SoManyAtOnce(keys) => {
            let keys: Vec<_> = (0..keys).map(|key| format!("k{key}")).collect();
            let asked = keys.iter().map(|key| buyer.checkout(key, "pm_card_ok"));
            try_join_all(asked).await?
        }
        Haste::AfterReloading => {
            let first = buyer.checkout("k1", "pm_card_slow").await?;
            ensure!(first.status == StatusCode::ACCEPTED, "{first:?}");
            let second = buyer.checkout("k2", "pm_card_ok").await?;
            ensure!(second.status == StatusCode::CONFLICT, "{second:?}");
            buyer.buy("k1", "pm_card_slow").await?;
            return Ok(1);
        }
        Haste::AddAndBuyAgain => {
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
        let said = answer.json();
        match answer.status {
            StatusCode::CREATED if said["status"] == "COMPLETED" => bought += 1,
            StatusCode::CREATED => ensure!(said["failure"]["reason"] == "CART_CHANGED", "{said}"),
            // Its saga goes on.
            StatusCode::ACCEPTED => {}
            StatusCode::BAD_REQUEST => ensure!(said["reason"] == "CART_EMPTY", "{said}"),
            StatusCode::CONFLICT => {
                ensure!(said["reason"] == "CHECKOUT_IN_PROGRESS", "{said}");
                let checkout = said["checkout_id"].as_str().context("no checkout")?;
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
    let ways = [
        Haste::OneKeyAfterTheOther,
        Haste::SoManyAtOnce(2),
        Haste::SoManyAtOnce(8),
        Haste::AddAndBuyAgain,
        Haste::AfterReloading,
    ];
    let mut put_in = BTreeMap::new();
    for (n, haste) in ways.into_iter().enumerate() {
        let rounds = (0..ROUNDS).map(|round| {
            let shop = &shop;
            async move {
                let name = format!("hasty-{n}-{round}");
                let pieces = ask(&shop.buyer(&name)?, haste).await;
                anyhow::Ok((name, pieces.with_context(|| format!("{haste:?}"))?))
            }
        });
        put_in.extend(try_join_all(rounds).await?);
    }
    shop.settle().await?;
    let ordered = "SELECT o.user_id, sum(l.quantity) FROM orders o JOIN order_lines l ON l.order_id = o.id GROUP BY 1";
    let ordered: Vec<(String, i64)> = shop.rows("orders", ordered).await?;
    let mut missing: Vec<_> = put_in.iter().collect();
    missing.retain(|(name, pieces)| !ordered.contains(&((*name).clone(), **pieces)));
    ensure!(missing.is_empty(), "{missing:?} of {ordered:?}");
    for name in put_in.keys() {
        let cart = shop.buyer(name)?.read("/api/v1/cart").await?;
        ensure!(cart["items"] == json!([]) && cart["in_checkout"] == json!([]), "{cart}");
    }
    let sold: i64 = put_in.values().sum();
    assert_eq!(shop.stock(MICE).await?, (500 - sold, 0));
    shop.balance().await
}

/// Products and quantities.
fn lines(items: &Value) -> Value {
    let items = items.as_array().into_iter().flatten();
    items
        .map(|item| json!([item["product_id"], item["quantity"]]))
        .collect()
}

async fn held_items_are_shown_and_items_added_later_can_be_bought(
    profile: Profile,
) -> Result<()> {
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
    // What is cleared is free.
    assert_eq!(
        ada.call(http::Method::DELETE, "/api/v1/cart", None).await?.status,
        StatusCode::OK
    );
    let bought = ada.buy("slow", "pm_card_slow").await?;
    assert_eq!(
        (&bought["status"], lines(&bought["items"])),
        (&json!("COMPLETED"), json!([[1, 2]]))
    );
    shop.settle().await?;
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
    // Of one product 99 and 99, and of products 50 and 50.
    let products: Vec<i64> = (1_001..=1_100).collect();
    offer(&shop, &products).await?;
    let (many, wide) = (shop.buyer("many")?, shop.buyer("wide")?);
    many.add(2, 99).await?;
    join_all(products[..50].iter().map(|product| wide.add(*product, 1))).await;
    for buyer in [&many, &wide] {
        let waiting = buyer.checkout("declined", "pm_card_declined").await?;
        ensure!(waiting.status == StatusCode::ACCEPTED, "{waiting:?}");
        until("the pieces are held", async || {
            let cart = buyer.read("/api/v1/cart").await?;
            Ok((cart["items"] == json!([])).then_some(()))
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

/// Products, and ten pieces of each.
async fn offer(shop: &Shop, products: &[i64]) -> Result<()> {
    let (catalogue, stock) = (shop.products()?, shop.inventory()?);
    for id in products {
        let product = proto::product::v1::UpsertProductRequest {
            id: *id,
            name: format!("Thing {id}"),
            price: Some(money::Money::usd(100).into()),
            ..Default::default()
        };
        catalogue.clone().upsert_product(product).await?;
        let delivery = proto::inventory::v1::AddStockRequest {
            product_id: *id,
            quantity: 10,
            idempotency_key: format!("first {id}"),
        };
        stock.clone().add_stock(delivery).await?;
    }
    Ok(())
}

async fn a_customer_pays_only_what_they_were_shown(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let price = async |minor: i64| {
        let product = proto::product::v1::UpsertProductRequest {
            id: 1_001,
            name: "Thing".to_owned(),
            price: Some(money::Money::usd(minor).into()),
            ..Default::default()
        };
        anyhow::Ok(shop.products()?.upsert_product(product).await?)
    };
    offer(&shop, &[1_001]).await?;
    price(1_000).await?;
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

    // A line that another tab added.
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
    assert_eq!(again, bought, "a known key is answered, whatever the cart is now");
    shop.balance().await
}
