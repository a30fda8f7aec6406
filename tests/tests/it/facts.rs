//! The facts of a gRPC error are in the REST response, too: each test sends one request to both interfaces.

use std::time::Duration;

use anyhow::{Context, Result};
use cartwright::http::HttpResponse;
use http::{Method, StatusCode};
use proto::{
    Fact, Reason,
    cart::v1::{AddItemRequest, RemoveItemRequest},
    checkout::v1::InitiateCheckoutRequest,
    inventory::v1::{Line, ReserveRequest},
    money::v1::Money,
    status,
};
use runtime::config::Span;
use serde_json::{Value, json};
use system_tests::{
    home::Profile,
    shops::{Buyer, Shop},
};
use tonic::Status;

on_every_profile! {
    a_full_cart_names_its_limit,
    the_current_cart_version_is_named,
    changed_prices_come_with_the_new_total,
    products_that_are_not_sold_any_more_are_named,
    the_checkout_that_holds_the_cart_is_named,
    shortages_are_listed,
}

/// Checks that both interfaces refuse for the same reason, and that REST shows every fact of gRPC.
#[track_caller]
fn assert_same(grpc: &Status, rest: &HttpResponse) {
    let problem = rest.json();
    let reason = status::reason(grpc).unwrap();
    assert_eq!(problem["reason"], reason.as_str(), "{problem}");
    assert_eq!(problem["detail"], grpc.message());
    let facts = status::facts(grpc);
    let declared: Vec<_> = reason.facts().to_vec();
    let found: Vec<_> = facts.iter().map(|(fact, _)| *fact).collect();
    assert_eq!(found, declared, "{grpc:?}");
    for (fact, text) in facts {
        assert!(
            shows(rest, &problem, fact, &text),
            "{fact:?} {text}: {problem} {:?}",
            rest.headers
        );
    }
}

fn shows(rest: &HttpResponse, problem: &Value, fact: Fact, text: &str) -> bool {
    let header = |name: &str| rest.headers.get(name).and_then(|value| value.to_str().ok());
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let body = String::from_utf8_lossy(&rest.body);
    let price = |minor: &Value| format!("{}", money::Amount(minor.as_i64().unwrap()));
    match fact {
        Fact::Max => problem["max"] == json,
        Fact::Version => header("etag") == Some(&format!("\"{text}\"")),
        Fact::CheckoutId => {
            problem["checkout_id"] == text && header("location") == Some(&format!("/api/v1/checkout/{text}"))
        }
        Fact::Total => body.contains(&format!(r#""total":{}"#, price(&json))),
        Fact::ProductIds => problem["product_ids"] == json,
        Fact::Shortages => problem["failure"]["items"] == json,
        Fact::Changes => json.as_array().unwrap().iter().all(|change| {
            let shown = format!(
                r#"{{"product_id":{},"old_price":{},"new_price":{}}}"#,
                change["product_id"],
                price(&change["old_minor"]),
                price(&change["new_minor"])
            );
            body.contains(&shown)
        }),
    }
}

fn purchase(key: &str) -> InitiateCheckoutRequest {
    InitiateCheckoutRequest {
        user_id: "ada".to_owned(),
        idempotency_key: key.to_owned(),
        ..Default::default()
    }
}

async fn refused_checkout(shop: &Shop, ada: &Buyer) -> Result<(Status, HttpResponse)> {
    let grpc = shop.checkouts()?.initiate_checkout(purchase("again")).await;
    let rest = ada.checkout("again", "").await?;
    Ok((grpc.err().context("gRPC did not refuse")?, rest))
}

async fn a_full_cart_names_its_limit(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    let mut last = 0;
    for n in 0..51 {
        last = shop.upsert_product(0, &format!("pen {n}"), 100 + n).await?;
        if n < 50 {
            ada.add(last, 1).await?;
        }
    }
    let request = AddItemRequest {
        user_id: "ada".to_owned(),
        product_id: last,
        quantity: 1,
        ..Default::default()
    };
    let grpc = shop.carts()?.add_item(request).await.unwrap_err();
    let rest = ada
        .post("/api/v1/cart/items", &json!({"product_id": last, "quantity": 1}))
        .await?;
    assert_eq!(status::reason(&grpc), Some(Reason::CartFull));
    assert_same(&grpc, &rest);
    Ok(())
}

async fn the_current_cart_version_is_named(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(1, 1).await?;
    ada.add(2, 1).await?;
    let request = RemoveItemRequest {
        user_id: "ada".to_owned(),
        product_id: 1,
        expected_version: Some(1),
    };
    let grpc = shop.carts()?.remove_item(request).await.unwrap_err();
    let with_tag = |method, path, body: &str| {
        let request = ada
            .request(method, path)
            .header("if-match", "\"1\"")
            .header("content-type", "application/json");
        request.body(body.to_owned().into())
    };
    let rest = ada.send(with_tag(Method::DELETE, "/api/v1/cart/items/1", "")?).await?;
    assert_eq!(rest.status, StatusCode::PRECONDITION_FAILED);
    assert_same(&grpc, &rest);

    let request = InitiateCheckoutRequest {
        cart_version: Some(1),
        ..purchase("k")
    };
    let grpc = shop.checkouts()?.initiate_checkout(request).await.unwrap_err();
    let body = r#"{"idempotency_key":"k"}"#;
    let rest = ada.send(with_tag(Method::POST, "/api/v1/checkout", body)?).await?;
    assert_eq!(rest.status, StatusCode::PRECONDITION_FAILED);
    assert_same(&grpc, &rest);
    Ok(())
}

async fn changed_prices_come_with_the_new_total(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(2, 2).await?;
    // The expected total is wrong although no price has changed.
    let request = InitiateCheckoutRequest {
        expected_total: Some(Money {
            currency_code: String::new(),
            minor_units: 2999,
        }),
        ..purchase("other")
    };
    let grpc = shop.checkouts()?.initiate_checkout(request).await.unwrap_err();
    let body = json!({"idempotency_key": "other", "expected_total": 29.99});
    let rest = ada.post("/api/v1/checkout", &body).await?;
    assert_same(&grpc, &rest);
    assert_eq!(rest.json()["changes"], json!([]));

    shop.upsert_product(2, "Mouse", 3100).await?;
    let (grpc, rest) = refused_checkout(&shop, &ada).await?;
    assert_eq!(status::reason(&grpc), Some(Reason::PriceChanged));
    assert_same(&grpc, &rest);
    assert!(
        String::from_utf8_lossy(&rest.body).contains(r#""total":62.00"#),
        "{rest:?}"
    );
    Ok(())
}

async fn products_that_are_not_sold_any_more_are_named(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(2, 1).await?;
    ada.add(3, 1).await?;
    shop.home()
        .execute("product", "DELETE FROM products WHERE id = 3")
        .await?;
    let (grpc, rest) = refused_checkout(&shop, &ada).await?;
    assert_eq!(status::reason(&grpc), Some(Reason::ProductUnavailable));
    assert_same(&grpc, &rest);
    assert_eq!(rest.json()["product_ids"], json!([3]));
    Ok(())
}

async fn the_checkout_that_holds_the_cart_is_named(profile: Profile) -> Result<()> {
    let shop = Shop::with_settings(profile, |settings| {
        settings.checkout_timeout = Span(Duration::from_millis(500));
    })
    .await?;
    let ada = shop.buyer("ada")?;
    ada.add(2, 1).await?;
    let waiting = ada.checkout("first", "pm_card_slow").await?;
    assert_eq!(waiting.status, StatusCode::ACCEPTED, "{waiting:?}");
    let (grpc, rest) = refused_checkout(&shop, &ada).await?;
    assert_eq!(status::reason(&grpc), Some(Reason::CheckoutInProgress));
    assert_same(&grpc, &rest);
    assert_eq!(rest.json()["checkout_id"], waiting.json()["checkout_id"]);
    let cart = ada.read("/api/v1/cart").await?;
    assert_eq!(cart["in_checkout"][0]["checkout_id"], waiting.json()["checkout_id"]);
    Ok(())
}

async fn shortages_are_listed(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    // A product without a delivery has no stock.
    let pen = shop.upsert_product(0, "Pen", 100).await?;
    ada.add(pen, 2).await?;
    let rest = ada.checkout("k", "").await?;
    let request = ReserveRequest {
        checkout_id: "00000000-0000-4000-8000-000000000001".to_owned(),
        lines: vec![Line {
            product_id: pen,
            quantity: 2,
        }],
    };
    let grpc = shop.inventory()?.reserve(request).await.unwrap_err();
    assert_eq!(status::reason(&grpc), Some(Reason::OutOfStock));
    let failure = &rest.json()["failure"];
    assert_eq!(failure["reason"], "OUT_OF_STOCK");
    for (fact, text) in status::facts(&grpc) {
        assert!(shows(&rest, &rest.json(), fact, &text), "{failure}");
    }
    assert!(rest.headers.contains_key("etag"));
    Ok(())
}
